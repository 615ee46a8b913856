"""`dr objectives` and `dr runbook`: what is wanted, whether it can be reached, and what to do."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deployments.commands import asking, finding
from deployments.commands.output import AsJson, Site, as_json, table
from runbooks import database_ways, documents, objectives, printed
from runbooks import site as sites
from runbooks.model import Model, now, spell
from runbooks.objectives import PROTECTIONS, Judgement, Protection
from runbooks.records import Impact, Mode, RunKind
from runbooks.render import runbook
from runbooks.site import Site as SiteFile


def show_objectives(
    site: Annotated[str | None, typer.Option("--site", metavar="S", help="Left out: the table alone.")] = None,
    json: AsJson = False,
) -> None:
    """What reaches which RTO and RPO, and whether an application's schedules can.

    Example: dr objectives --site production
    """
    judged = objectives.judge(sites.load(site)) if site else ()
    if json:
        as_json({"protections": _plain(PROTECTIONS), "applications": _plain(judged)})
        return
    table([_row(one) for one in PROTECTIONS])
    for judgement in judged:
        _tell(judgement)


def _plain(models: tuple[Model, ...]) -> list[object]:
    return [one.model_dump(mode="json") for one in models]


def _row(one: Protection) -> dict[str, object]:
    return {"rto": spell(one.reaches.rto), "rpo": spell(one.reaches.rpo), "needs": one.technique, "cost": one.cost}


def _tell(one: Judgement) -> None:
    wanted = f"RTO {spell(one.wanted.rto)}, RPO {spell(one.wanted.rpo)}"
    typer.echo(f"\n{one.application}, {one.scenario}: {wanted}")
    typer.echo(f"  needs: {_named(one.needs)}")
    typer.echo(f"  has:   {_named(one.has)}" + (f"; at worst {spell(one.best_rpo)} are lost" if one.best_rpo else ""))
    for line in (*one.disagreements, *one.alone):
        typer.echo(f"  - {line}")


def _named(one: Protection | None) -> str:
    return "nothing of the table" if one is None else f"{one.technique} ({one.cost} cost)"


class Form(StrEnum):
    MARKDOWN = "markdown"
    HTML = "html"


def show_runbook(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="Such as namespace-deletion.")],
    site: Site,
    application: Annotated[str | None, typer.Option(metavar="A", help="Left out: the site's only one.")] = None,
    mode: Annotated[Mode, typer.Option(help="An incident's page leaves out what only a drill does.")] = Mode.INCIDENT,
    impact: Annotated[Impact, typer.Option(help="Of a drill.")] = Impact.REAL,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Of the person who is going to type; left out: the site's, the runner's own.")
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="NAME=VALUE", help="Of a database: way, table, target_xid … as of dr run."),
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="HTML is one file that prints well.")] = Form.MARKDOWN,
) -> None:
    """The runbook for a person without Prefect: the site's own names, and the newest good backup if it answers.

    Example: dr runbook namespace-deletion --site production --format html > /tmp/runbook.html
    """
    from deployments.commands import backup_choice  # which leads to Prefect

    document, loaded = documents.load(scenario), sites.load(site)
    options = database_ways.parsed(scenario, asking.options(with_ or ()) or {})
    found = loaded.application(application) if application else finding.only_application(loaded)
    if scenario == database_ways.SCENARIO:
        loaded = backup_choice.as_led(loaded, found)
    chosen = backup_choice.now_usable(loaded, found, scenario, options)
    person = _as_person(loaded, kubeconfig)
    page = printed.page(document, person, found, RunKind.of(mode, impact), chosen, now(), options)
    typer.echo(runbook.page(page) if form is Form.HTML else printed.markdown(page))


def _as_person(site: SiteFile, kubeconfig: Path | None) -> SiteFile:
    """The runner's account may hardly do more than a run does: no `kubectl exec`, and nothing is deleted."""
    if kubeconfig is None:
        return site
    regions = tuple(
        r.model_copy(update={"cluster": r.cluster and r.cluster.model_copy(update={"kubeconfig": kubeconfig})})
        for r in site.regions
    )
    return site.model_copy(update={"regions": regions})

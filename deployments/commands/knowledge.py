"""`dr objectives` and `dr runbook`: what is wanted, whether it can be reached, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.commands import finding
from deployments.commands.output import AsJson, Site, as_json, table
from runbooks import documents, objectives
from runbooks import site as sites
from runbooks.model import Model, spell
from runbooks.objectives import PROTECTIONS, Judgement, Protection


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


def show_runbook(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="Such as namespace-deletion.")],
    site: Site,
    application: Annotated[str | None, typer.Option(metavar="A", help="Left out: the site's only one.")] = None,
) -> None:
    """The runbook for a person without Prefect, in Markdown, with the site's own names and commands.

    Example: dr runbook namespace-deletion --site production > /tmp/runbook.md
    """
    loaded = sites.load(site)
    found = loaded.application(application) if application else finding.only_application(loaded)
    typer.echo(documents.load(scenario).printed(loaded, found))

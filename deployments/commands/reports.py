"""`dr reports` and `dr evidence`: what runs left behind, and whether it is still what they wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.commands import finding
from deployments.commands.output import AsJson, as_json, show
from runbooks import journal
from runbooks.errors import RecoveryError, Refused
from runbooks.report_schema import Report
from tasks import object_store

reports = typer.Typer(no_args_is_help=True, help="Reports of drills and incidents.")
evidence = typer.Typer(no_args_is_help=True, help="Prove that evidence was not altered.")
OptionalSite = Annotated[str | None, typer.Option("--site", metavar="S", help="Left out: every site known here.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run id, as `dr reports list` prints it.")]


@reports.command("list")
def list_reports(site: OptionalSite = None, json: AsJson = False) -> None:
    """All runs on this host, oldest first. RTO, RPO and outage in seconds; – = unknown.

    Example: dr reports list --site lab
    """
    show([_row(found) for found in finding.runs(site)], json=json)


def _row(found: finding.Found) -> dict[str, object]:
    try:
        one = Report.from_file(found.directory / "report.json")
    except Refused:
        return dict.fromkeys(COLUMNS) | {"run_id": found.directory.name, "site": found.name, "verdict": "no report"}
    actual = one.actual
    values = (one.run_id, one.site, one.scenario, f"{one.mode}, {one.impact}", one.verdict.value)
    return dict(zip(COLUMNS, (*values, actual.rto_seconds, actual.rpo_seconds, actual.outage_seconds), strict=True))


COLUMNS = ("run_id", "site", "scenario", "mode", "verdict", "rto_seconds", "rpo_seconds", "outage_seconds")


@reports.command("show")
def show_report(run_id: RunId, site: OptionalSite = None, json: AsJson = False) -> None:
    """One report in Markdown, or as JSON.

    Example: dr reports show 20261123-100000-4f2a
    """
    found = finding.run(run_id, site)
    if json:
        as_json(_read(found.directory / "report.json"))
    else:
        typer.echo((found.directory / "report.md").read_text())


def _read(path: Path) -> object:
    return Report.from_file(path).model_dump(mode="json", by_alias=True)


@reports.command("rebuild")
def rebuild(run_id: RunId, site: OptionalSite = None) -> None:
    """Make a report again from its journal and samples.

    Example: dr reports rebuild 20261123-100000-4f2a
    """
    from runbooks import report

    found = finding.run(run_id, site)
    made = report.build(found.directory)
    report.save(made, found.directory)
    typer.echo(f"{made.run_id}: {made.verdict}\nreport: {found.directory / 'report.json'}")


@reports.command("send")
def send(site: OptionalSite = None, json: AsJson = False) -> None:
    """Send what could not be sent when a run ended to the evidence store.

    Example: dr reports send --site lab
    """
    from tasks import evidence as copies

    places = {found.name: found.site for found in finding.runs(site)}
    show(
        [{"run_id": run, "site": name} for name, one in places.items() for run in copies.send_left_over(one)], json=json
    )


@evidence.command("verify")
def verify(
    run_id: Annotated[str | None, typer.Argument(metavar="RUN", help="Left out: all of them.")] = None,
    site: OptionalSite = None,
    json: AsJson = False,
) -> None:
    """Check the chain of a journal, and that the copy in the evidence store says the same. Exit code 1: altered.

    Example: dr evidence verify 20261123-100000-4f2a
    """
    found = [finding.run(run_id, site)] if run_id else list(finding.runs(site))
    rows = [_verified(one) for one in found]
    show(rows, json=json)
    if any(row["chain"] == "BROKEN" or row["copy"] == "DIFFERENT" for row in rows):
        raise typer.Exit(1)


def _verified(found: finding.Found) -> dict[str, object]:
    """`copy`: the same, behind (it ends earlier), DIFFERENT, or why it could not be read."""
    row: dict[str, object] = {"run_id": found.directory.name, "chain": "whole", "entries": None, "head": None}
    try:
        entries = journal.read(found.journal)
    except Refused as error:
        return row | {"chain": "BROKEN", "copy": None, "why": error.problem}
    head = entries[-1].hash if entries else journal.GENESIS
    return row | {"entries": len(entries), "head": head[:16], "copy": _copy(found), "why": None}


def _copy(found: finding.Found) -> str:
    try:
        store = object_store.connect(found.site.evidence.store)
        copy = store.get(f"runs/{found.directory.name}/journal.jsonl")
    except RecoveryError as error:
        return f"not read: {error.problem}"
    if copy is None:
        return "none"
    here = found.journal.read_bytes()
    if copy.body == here:
        return "the same"
    return "behind" if here.startswith(copy.body) else "DIFFERENT"

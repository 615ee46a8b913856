"""`dr run`: a drill or an incident, in this process."""

from __future__ import annotations

import json
import traceback
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands import prefect_server, registry
from deployments.commands.asking import (
    Asked,
    Flags,
    asked,
    confirm,
    consent_must_be_known,
    instant,
    must_be_known,
    options,
    span,
)
from deployments.commands.output import log_to_terminal, refuse, told
from runbooks import journal
from runbooks.errors import DryRunEnded, RecoveryError
from runbooks.journal import Entry
from runbooks.records import Consent, Impact, Mode
from runbooks.report_schema import Report
from runbooks.verdict import CRASHED, exit_code

if TYPE_CHECKING:
    from deployments.commands.executing import Outcome


def run(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="Such as namespace-deletion.")],
    site: Annotated[str | None, typer.Option(metavar="S", help="deployments/sites/S.toml, or lab.")] = None,
    mode: Annotated[Mode | None, typer.Option(help="A drill breaks it first; an incident breaks nothing.")] = None,
    impact: Annotated[
        Impact | None, typer.Option(help="Of a drill: sandbox restores beside the original, real breaks it.")
    ] = None,
    application: Annotated[str | None, typer.Option(metavar="A", help="Left out: the site's only one.")] = None,
    backup: Annotated[str | None, typer.Option(metavar="B", help="Left out: the newest good one.")] = None,
    fault_at: Annotated[
        datetime | None, typer.Option(metavar="T", parser=instant, help="When it broke, if known.")
    ] = None,
    accept_loss: Annotated[
        timedelta | None, typer.Option(metavar="D", parser=span, help='What a drill may lose: "30 min".')
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="NAME=VALUE", help="A parameter of this scenario alone, such as way=full."),
    ] = None,
    consent: Annotated[
        list[Consent] | None, typer.Option(help="Of an incident: what may be done to things that are there.")
    ] = None,
    run_id: Annotated[str | None, typer.Option(metavar="ID", help="Go on with that run; needs no other flag.")] = None,
    take_over: Annotated[bool, typer.Option("--take-over", help="Take the lock from a dead run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make the plan, show it, change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; replaces no approval by a person.")] = False,
    no_server: Annotated[bool, typer.Option("--no-server", help="Without Prefect, even when it answers.")] = False,
) -> None:
    """Run a recovery, or a drill of it.

    Exit code 0: passed, 4: late, 1: not recovered, 3: refused, 5: aborted or crashed.

    Example: dr run namespace-deletion --site lab --mode drill --impact real
    """
    log_to_terminal()
    wanted = asked(
        Flags(
            scenario=scenario,
            site=site,
            application=application,
            mode=mode,
            impact=impact,
            backup=backup,
            fault_at=fault_at,
            accept_loss=accept_loss,
            options=options(with_ or ()),
            consent=tuple(consent) if consent else None,
            run_id=run_id,
            take_over=take_over,
            dry_run=dry_run,
        )
    )
    confirm(wanted, yes=yes)
    _execute(scenario=scenario, wanted=wanted, plain=no_server)


def _execute(*, scenario: str, wanted: Asked, plain: bool) -> None:
    """Prefect is imported here, once it is known which server there is; it reads its address then."""
    url = None if plain else _server(wanted)
    if url is not None:
        prefect_server.use(url)
        prefect_server.keep_off_the_terminal()
    from deployments.commands import executing

    flow = registry.flow(scenario)
    must_be_known(wanted.request.options, flow.fn, scenario)
    consent_must_be_known(wanted.request.consent, flow.fn, scenario)
    parameters = wanted.parameters()
    typer.echo(f"run: {wanted.run_id}", err=True)

    def finish(outcome: Outcome) -> int:
        return _finish(wanted, outcome)

    if url is None:
        raise typer.Exit(finish(executing.plainly(flow, parameters)))
    executing.leave(finish(executing.in_prefect(flow, parameters, finish)))


def _server(wanted: Asked) -> str | None:
    url = prefect_server.address(wanted.site)
    if url is not None and prefect_server.answers(url):
        return url
    typer.echo(f"no Prefect server answers at {url or 'any address'}: running without it", err=True)
    return None


def _finish(wanted: Asked, outcome: Outcome) -> int:
    """Tell how it ended; the exit code. The last line is the report's path, when there is one."""
    if isinstance(outcome, RecoveryError):
        return told(outcome)
    if outcome is not None and not _is_judged(outcome):
        traceback.print_exception(outcome)
    directory = wanted.site.evidence.directory / wanted.run_id
    if not (directory / "report.json").exists():
        return CRASHED
    report = Report.from_file(directory / "report.json")
    entries = journal.read(directory / "journal.jsonl")
    planned = wanted.flags.dry_run and _was_only_planned(entries)
    if planned:
        typer.echo(f"\ndry run: nothing was changed; the plan:\n{json.dumps(report.plan, indent=2)}")
    else:
        summary(report)
        _tell_reason(entries, report)
    if (page := prefect_server.page_of(_flow_run(entries))) is not None:
        typer.echo(f"page: {page}")
    typer.echo(f"report: {directory / 'report.json'}")
    return 0 if planned else exit_code(report.verdict, report.ended)


def _tell_reason(entries: list[Entry], report: Report) -> None:
    """Why it ended before its end, in the words of the error."""
    reasons = [entry.data["reason"] for entry in entries if entry.kind == "ended"]
    if reasons and isinstance(reason := reasons[-1], dict):
        refuse(str(reason["problem"]), str(reason["hint"]), report.verdict.value.upper().replace("_", " "))


def _was_only_planned(entries: list[Entry]) -> bool:
    reasons = [entry.data["reason"] for entry in entries if entry.kind == "ended"]
    return bool(reasons) and isinstance(reason := reasons[-1], dict) and reason["error"] == DryRunEnded.__name__


def _flow_run(entries: list[Entry]) -> str | None:
    """Of the last attempt, when Prefect showed it."""
    shown = [entry.data["flow_run_id"] for entry in entries if entry.kind == "attempt"]
    return str(shown[-1]) if shown and shown[-1] is not None else None


def _is_judged(outcome: BaseException) -> bool:
    """The run ended without being recovered and says so in its report: no defect, so no traceback."""
    from tasks.running import RunFailed

    return isinstance(outcome, RunFailed)


def summary(report: Report) -> None:
    """The few lines that a person wants first."""
    actual = report.actual
    typer.echo(f"\n{report.scenario}, {report.mode}: {report.verdict.value.upper().replace('_', ' ')}")
    typer.echo(f"  RTO    {_seconds(actual.rto_seconds)} of {_seconds(report.objectives.rto_seconds)}")
    typer.echo(f"  RPO    {_seconds(actual.rpo_seconds)} of {_seconds(report.objectives.rpo_seconds)}")
    typer.echo(f"  outage {_seconds(actual.outage_seconds)}")
    for finding in report.findings:
        typer.echo(f"  {finding.severity.value} finding: {finding.problem}\n    HINT: {finding.hint}")
    for step in report.remaining_steps:
        typer.echo(f"  left to do: {step.splitlines()[0].removeprefix('# ')}")


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} s"

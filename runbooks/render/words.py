"""The words of a report: what a tired person must understand at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from runbooks.records import Check, CheckStatus, Impact, Mode
from runbooks.report_schema import BY_THE_NET, Report, ReportFinding
from runbooks.verdict import Verdict

TITLES = {
    Verdict.PASSED: "Passed",
    Verdict.LATE: "Late",
    Verdict.NOT_RECOVERED: "Not recovered",
    Verdict.REFUSED: "Refused",
    Verdict.ABORTED: "Aborted",
    Verdict.INTERRUPTED: "Interrupted",
    Verdict.RUNNING: "Running",
}
UNFINISHED = (Verdict.ABORTED, Verdict.INTERRUPTED)
SERVICES = {"back": "is back", "down": "is DOWN", "unknown": "is in an unknown state"}
UNITS = (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))
UNKNOWN = "unknown"
_COUNT = re.compile(r"\d+ of \d+ checks not passed")
NONE = "–"


def span(seconds: float | None) -> str:
    """Two units are enough: 33.4 s, 5 min 40 s, 2 h 16 min, 1 d 3 h."""
    if seconds is None:
        return UNKNOWN
    if round(seconds, 1) < 60:
        return f"{round(seconds, 1):g} s"
    whole = round(seconds)
    unit, size, smaller, part = next(u for u in UNITS if whole >= u[1])
    rest = whole % size // part
    return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")


def time(at: datetime | None) -> str:
    return NONE if at is None else f"{at:%H:%M:%S}"


def day(at: datetime) -> str:
    return f"{at.day} {at:%B %Y}"


def instant(at: datetime | None, *, like: datetime) -> str:
    """The time; with the date when it is another day than that of *like*."""
    return time(at) if at is None or at.date() == like.date() else f"{at:%Y-%m-%d} {time(at)}"


def against(actual: str, target_seconds: float | None) -> str:
    return actual if target_seconds is None else f"{actual} / {span(target_seconds)}"


def recovery_seconds(report: Report) -> float | None:
    """What is held against the RTO; a sandbox has no fault, so it is the time from declared to a proven copy."""
    clocks = report.clocks
    if report.impact is not Impact.SANDBOX or clocks.declared is None or clocks.validated is None:
        return report.actual.rto_seconds
    return (clocks.validated - clocks.declared).total_seconds()


def actual_rto(report: Report) -> str:
    actual = report.actual
    if (seconds := recovery_seconds(report)) is not None:
        return span(seconds)
    if actual.rto_at_least_seconds is not None and report.verdict is not Verdict.REFUSED:
        return f"≥ {span(actual.rto_at_least_seconds)}"
    return NONE if is_untouched(report) else UNKNOWN


def actual_rpo(report: Report) -> str:
    actual = report.actual
    if actual.rpo_seconds is not None:
        return span(actual.rpo_seconds)
    if actual.rpo_bound_seconds is not None:
        return f"≤ {span(actual.rpo_bound_seconds)}"
    return NONE if is_untouched(report) else UNKNOWN


def is_untouched(report: Report) -> bool:
    """Nothing was changed, so nothing needs to be proven."""
    return report.verdict in (Verdict.REFUSED, Verdict.RUNNING)


def rto_met(report: Report) -> str:
    if report.objectives_met.rto is None and report.verdict in (Verdict.NOT_RECOVERED, *UNFINISHED):
        return "not reached"
    return met(report.objectives_met.rto)


def recovered_at(report: Report) -> datetime | None:
    """Where the actual RTO ends."""
    clocks = report.clocks
    return max(clocks.validated, clocks.client_visible) if clocks.validated and clocks.client_visible else None


def met(value: bool | None) -> str:
    return {True: "met", False: "missed", None: "cannot be told"}[value]


def kind(report: Report) -> str:
    if report.mode is Mode.INCIDENT:
        return "incident"
    return f"drill {'on' if report.impact is Impact.REAL else 'beside'} the original (impact {report.impact})"


def names(report: Report) -> str:
    return ", ".join(a.name for a in report.applications)


def checks(report: Report) -> list[Check]:
    """Of all applications; what was not passed first."""
    order = (CheckStatus.FAILED, CheckStatus.NOT_RUN, CheckStatus.PASSED)
    return sorted((c for a in report.applications for c in a.checks), key=lambda c: order.index(c.status))


def bad_checks(report: Report) -> list[Check]:
    return [c for c in checks(report) if c.status is not CheckStatus.PASSED]


def headline(report: Report) -> str:
    """The verdict in one or two sentences."""
    what = names(report) if report.impact is Impact.REAL else f"A copy of {names(report)}"
    match report.verdict:
        case Verdict.PASSED:
            return f"{what} is back, proven by {len(checks(report))} checks, within both objectives."
        case Verdict.LATE:
            return f"{what} is back, proven by {len(checks(report))} checks, but {' and '.join(_missed(report))}."
        case Verdict.NOT_RECOVERED:
            by_the_net = ", through the safety net" if net_used(report) and report.service == "back" else ""
            state = SERVICES[report.service] + by_the_net
            return f"{what} was not brought back as planned: {_unproven(report)}. The service {state}."
        case Verdict.REFUSED:
            return "Nothing was changed: a condition for this run does not hold."
        case Verdict.ABORTED:
            return f"A person ended the run after it had changed something. {what} {SERVICES[report.service]}."
        case Verdict.INTERRUPTED:
            return f"The run's process is gone and recorded no end. {what} {SERVICES[report.service]}."
        case Verdict.RUNNING:
            return "The run is in progress; nothing is judged yet."


def _missed(report: Report) -> Iterator[str]:
    if report.objectives_met.rto is not True:
        yield _compared("RTO", actual_rto(report), report.objectives.rto_seconds, report.objectives_met.rto)
    if report.objectives_met.rpo is not True:
        yield _compared("RPO", actual_rpo(report), report.objectives.rpo_seconds, report.objectives_met.rpo)


def _compared(what: str, actual: str, target: float | None, is_met: bool | None) -> str:
    if is_met is None:
        return f"whether the {what} of {span(target)} was met cannot be told ({actual})"
    return f"the {what} was missed: {actual} instead of {span(target)}"


def _unproven(report: Report) -> str:
    found, bad = checks(report), bad_checks(report)
    if not found:
        return "it did not come to a check"
    if bad:
        return f"{len(bad)} of {len(found)} checks not passed"
    return "its service was not seen to be back" if report.service != "back" else "the safety net had to be used"


def net_used(report: Report) -> bool:
    return any(a.way == BY_THE_NET for a in report.applications)


def broken(report: Report) -> list[str]:
    """What is wrong, the worst first."""
    failed = [f"{c.name}: expected {c.expected}, observed {c.observed}" for c in bad_checks(report)]
    found = [*failed, *(f.problem for f in _urgent(report))]
    return [*_missed(report), *found] if report.verdict is Verdict.LATE else found


def _urgent(report: Report) -> list[ReportFinding]:
    """Red ones; while the service is not back every one. What only counts the checks is told by the checks."""
    is_down = report.verdict is Verdict.NOT_RECOVERED and report.service != "back"
    found = [f for f in report.findings if f.severity == "red" or is_down]
    return [f for f in found if not (bad_checks(report) and _COUNT.match(f.problem))]


def to_do(report: Report) -> list[str]:
    """What a person does next. Hints of yellow findings stand beside their problems only: alone they would mislead."""
    hints = [f.hint for f in _urgent(report) if f.severity == "red"]
    if report.verdict in UNFINISHED:
        return [f"Go on with this run: {resume(report)}", *hints]
    if report.verdict is Verdict.REFUSED:
        return [*hints, "Then start a new run; this one changed nothing."]
    if report.verdict is Verdict.NOT_RECOVERED:
        return [_after_failure(report), *hints]
    return hints


def _after_failure(report: Report) -> str:
    if report.service == "back" and net_used(report):
        return "Nothing is urgent: the service runs from the safety net. Repair the way back before it is needed."
    if report.service == "back":
        return "The service answers, but do not trust its data until you know why each check failed."
    return "The service is not back: go on by hand with the commands under “What is left”, or start an incident run."


def resume(report: Report) -> str:
    return f"dr run {report.scenario} --site {report.site} --run-id {report.run_id}"


def over_budget(seconds: float | None, budget_seconds: float | None) -> bool:
    return seconds is not None and budget_seconds is not None and seconds > budget_seconds

"""The report as Markdown: for a terminal, a ticket, a pull request, an artifact of the run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from runbooks.evidence import Evidence
from runbooks.render import facts, plan, words
from runbooks.report_schema import Report

_SPECIAL = re.compile(r"([\\`*\[\]|]|(?<!\w)_|_(?!\w)|(?<=\])\()")
_HARMLESS = re.compile(r"[\w.:/+@=,' -]+")
_AT_LINE_START = re.compile(r"^([#+>-]|\d+\.)(?=\s|$)")


def text(value: object) -> str:
    """Any text on one line, with nothing in it that Markdown or HTML would take for itself."""
    line = " ".join(str(value).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _AT_LINE_START.sub(r"\\\1", _SPECIAL.sub(r"\\\1", line))


def code(value: object) -> str:
    """As code where nothing in it could end the code, else as text."""
    return f"`{value}`" if _HARMLESS.fullmatch(str(value)) else text(value)


def page(report: Report, evidence: Evidence) -> str:
    """What came of it stands before the plan; where nothing was done there is the plan alone."""
    planned = _items("The plan", plan.of_incident(report.plan))
    is_first = words.is_untouched(report)
    parts = [
        _head(report),
        _items("What is wrong", words.broken(report)),
        _items("What to do", words.to_do(report)),
        planned if is_first else "",
        _objectives(report),
        _clocks(report),
        "" if is_first else planned,
        _checks(report),
        _stores(report),
        _phases(report),
        _timeline(report),
        _findings(report),
        _items("Could not be told", report.unknown),
        _items("Improvements", report.improvements),
        _remaining(report),
        _approvals(report),
        _unsent(report),
        _clean_up(report),
        _attempts(report),
        _provenance(report, evidence),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _head(report: Report) -> str:
    title = words.TITLES[report.verdict].upper()
    return "\n".join(
        [
            f"# {title}: {text(report.scenario)} of {text(words.names(report))}",
            "",
            f"**{text(words.headline(report))}**",
            "",
            f"{text(words.kind(report)).capitalize()}, site {text(report.site)}, run {code(report.run_id)}, "
            f"{words.day(report.started)}, {words.time(report.started)} UTC, "
            f"started by {text(report.actor.claimed or 'unknown')}",
        ]
    )


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> str:
    """Nothing at all when there are no rows. Cells are Markdown already."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    head = [f"## {title}", "", *([note, ""] if note else [])]
    return "\n".join([*head, f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}", *lines])


def _items(title: str, items: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {text(i)}" for i in items)]) if items else ""


def _objectives(report: Report) -> str:
    goals, actual = report.objectives, report.actual
    rows = [
        ("RTO", words.span(goals.rto_seconds), f"**{words.actual_rto(report)}**", words.rto_met(report)),
        ("RPO", words.span(goals.rpo_seconds), f"**{words.actual_rpo(report)}**", words.met(report.objectives_met.rpo)),
        ("outage as clients saw it", words.NONE, words.span(actual.outage_seconds), words.NONE),
        ("waited for a person", words.NONE, words.span(actual.human_wait_seconds), words.NONE),
    ]
    return _table("Objectives", ("", "target", "actual", ""), rows)


def _clocks(report: Report) -> str:
    clocks = report.clocks
    rows = [
        (name.replace("_", " "), facts.exact(at, report), facts.since_fault(report, at))
        for name, at in clocks
        if at is not None
    ]
    return _table("Clocks", ("", "UTC", "after the fault"), rows)


def _checks(report: Report) -> str:
    found = words.checks(report)
    if not found:
        return ""
    bad = len(words.bad_checks(report))
    rows = [(c.status.replace("_", " "), text(c.name), text(c.expected), text(c.observed)) for c in found]
    weak = facts.weakly_checked(report)
    note = f"{len(found) - bad} of {len(found)} passed."
    note += f" Weakly checked: {text(', '.join(weak))}." if weak else ""
    return _table("Checks", ("status", "check", "expected", "observed"), rows, note)


def _stores(report: Report) -> str:
    rows = [
        (
            text(s.name),
            facts.loss(s),
            facts.count(s, s.lost),
            facts.count(s, s.given_up),
            text(facts.backup(s)),
        )
        for a in report.applications
        for s in a.stores
    ]
    return _table("Data", ("store", "actual RPO", "lost", "given up", "from"), rows)


def _phases(report: Report) -> str:
    rows = [
        (
            text(facts.plain(p.name)),
            words.span(p.budget_seconds),
            words.NONE if p.seconds is None else words.span(p.seconds),
            facts.phase_status(p),
        )
        for p in report.phases
    ]
    return _table("Phases", ("phase", "budget", "took", ""), rows)


def _timeline(report: Report) -> str:
    rows = [
        (words.instant(m.at, like=report.started), text(facts.plain(m.phase or "")), text(m.event))
        for m in report.timeline
    ]
    return _table("Timeline", ("UTC", "phase", "what happened"), rows)


def _findings(report: Report) -> str:
    rows = [
        (f.severity.value, text(f.problem), text(f.hint), facts.age(report, f), code(f.id)) for f in report.findings
    ]
    return _table("Findings", ("", "problem", "what to do", "seen", "id"), rows)


def _remaining(report: Report) -> str:
    if not report.remaining_steps:
        return ""
    fence = "~" * (3 + max((len(r) for s in report.remaining_steps for r in re.findall("~{3,}", s)), default=0))
    return "\n".join(["## What is left, as commands", "", f"{fence}sh", *report.remaining_steps, fence])


def _approvals(report: Report) -> str:
    rows = [
        (
            words.instant(a.at, like=report.started),
            text(a.who),
            text(a.authenticated or "not proven"),
            text(a.why),
            text(a.loss),
        )
        for a in report.approvals
    ]
    return _table("Approvals", ("UTC", "who", "authenticated", "why", "loss accepted"), rows)


def _unsent(report: Report) -> str:
    rows = [(text(n.what), text(n.why)) for n in report.notifications.failed]
    return _table("Notifications not sent", ("what", "why"), rows, f"{report.notifications.sent} were sent.")


def _clean_up(report: Report) -> str:
    rows = [(text(c.step), text(c.status)) for c in report.clean_up]
    return _table("Clean up", ("step", "status"), rows)


def _attempts(report: Report) -> str:
    """Only when there was more than one."""
    rows = [
        (
            words.instant(a.started_at, like=report.started),
            facts.end_of(a, report),
            text(a.host or words.UNKNOWN),
            text(a.how or words.UNKNOWN),
        )
        for a in report.attempts
    ]
    return _table("Attempts", ("started", "ended", "host", "how"), rows) if len(rows) > 1 else ""


def _provenance(report: Report, evidence: Evidence) -> str:
    rows = [(text(name), code(value)) for name, value in facts.provenance(report)]
    rows += [(f.name, code(f.sha256) if f.sha256 else "**missing**") for f in evidence.files]
    rows.append((f"head of the journal, {evidence.entries} entries", code(evidence.head)))
    complete = "complete" if report.evidence_complete else "NOT complete"
    note = f"The evidence is {complete}. Proof that nothing was altered: {code(facts.verify(report))}"
    return _table("Evidence", ("", "value, or SHA-256 of the file"), rows, note)

"""The page below the drawing: every table of the report, what was not well first."""

from __future__ import annotations

from collections.abc import Sequence

from runbooks.evidence import Evidence
from runbooks.records import Check, CheckStatus
from runbooks.render import facts, plan, words
from runbooks.render.elements import NOTHING, Html, cell, code, items, joined, pair, row, section, strong, table, text
from runbooks.report_schema import Report

LONG = 12
"""Tables up to this length are kept on one page."""


def all_of(report: Report, evidence: Evidence) -> Html:
    return joined(
        [
            pair(_clocks(report), _phases(report)),
            section("The plan", items(plan.of_incident(report.plan))),
            _stores(report),
            _checks(report),
            _findings(report),
            _remaining(report),
            _unknown(report),
            section("Improvements", items(report.improvements)),
            _approvals(report),
            _timeline(report),
            _attempts(report),
            pair(_clean_up(report), _notifications(report)),
            _evidence(report, evidence),
            _sign(),
        ]
    )


def _kind(rows: Sequence[object]) -> str:
    return "whole" if len(rows) <= LONG else ""


def _clocks(report: Report) -> Html:
    ends = words.recovered_at(report)
    rows = [
        row(
            [
                cell(text(facts.plain(name))),
                cell(text(facts.exact(at, report)), "tight"),
                cell(text(facts.since_fault(report, at) if at else words.NONE), "tight right"),
            ],
            "mark" if at is not None and (name == "fault" or (at == ends and name in ENDS)) else "",
        )
        for name, at in report.clocks
        if at is not None or not words.is_untouched(report)
    ]
    headings = (("instant", ""), ("UTC", "tight"), ("after the fault", "tight right"))
    waits = NOTHING if words.is_untouched(report) else _waits(report)
    return section("Clocks", joined([table(headings, rows), waits]), kind="whole")


ENDS = ("validated", "client_visible")


def _waits(report: Report) -> Html:
    """Beside the objectives: what is inside the RTO, and what clients felt."""
    actual = report.actual
    told = f"Outage as clients saw it: {words.span(actual.outage_seconds)}. Waited for a person: "
    told += f"{words.span(actual.human_wait_seconds)}."
    for gap in report.gaps:
        told += f" Nobody asked from {words.time(gap.start)} to {words.time(gap.end)}: its worse end counts."
    return Html(f'<p class="note">{text(told)}</p>')


def _phases(report: Report) -> Html:
    rows = [
        row(
            [
                cell(text(facts.plain(p.name))),
                cell(text(words.NONE if p.seconds is None else words.span(p.seconds)), "tight right"),
                cell(text(words.span(p.budget_seconds)), "tight right"),
                cell(text(facts.phase_status(p)), f"tight {_phase_kind(p.status)}"),
            ],
            "bad" if p.status == "failed" or words.over_budget(p.seconds, p.budget_seconds) else "",
        )
        for p in report.phases
    ]
    headings = (("phase", ""), ("took", "tight right"), ("budget", "tight right"), ("", "tight"))
    return section("Phases", table(headings, rows) if rows else NOTHING, kind="whole")


def _phase_kind(status: str) -> str:
    return {"failed": "bad-text", "unfinished": "warn-text"}.get(status, "")


def _stores(report: Report) -> Html:
    rows = [
        row(
            [
                cell(text(s.name)),
                cell(strong(facts.loss(s)), "tight right"),
                cell(text(words.span(s.bound_seconds)), "tight right"),
                cell(text(facts.count(s, s.lost)), "tight right"),
                cell(text(facts.count(s, s.given_up)), "tight right"),
                cell(text(facts.backup(s))),
            ]
        )
        for a in report.applications
        for s in a.stores
    ]
    headings = (
        ("store", ""),
        ("actual RPO", "tight right"),
        ("at most", "tight right"),
        ("lost", "tight right"),
        ("given up", "tight right"),
        ("brought back from", ""),
    )
    return section("Data", table(headings, rows) if rows else NOTHING, small=_stores_note(report), kind=_kind(rows))


def _stores_note(report: Report) -> str:
    return "the worst store is the actual RPO" if len([s for a in report.applications for s in a.stores]) > 1 else ""


def _checks(report: Report) -> Html:
    found, bad = words.checks(report), words.bad_checks(report)
    rows = [_check(c) for c in found]
    headings = (("", "tight"), ("check", "quarter"), ("expected", "third"), ("observed", "third"))
    note = NOTHING
    if weak := facts.weakly_checked(report):
        note = Html(f'<p class="note">Weakly checked: {text(", ".join(weak))}.</p>')
    small = f"{len(found) - len(bad)} of {len(found)} passed"
    return section("Checks", joined([table(headings, rows), note]) if rows else NOTHING, small=small, kind=_kind(rows))


def _check(check: Check) -> Html:
    is_good = check.status is CheckStatus.PASSED
    status = cell(text(facts.plain(check.status)), f"tight {'good-text' if is_good else 'bad-text'}")
    cells = [status, cell(text(check.name)), cell(text(check.expected)), cell(text(check.observed))]
    return row(cells, "" if is_good else "bad")


def _findings(report: Report) -> Html:
    rows = [
        row(
            [
                cell(text(f.severity.value), f"tight {'bad-text' if f.severity == 'red' else 'warn-text'}"),
                cell(text(f.problem)),
                cell(text(f.hint)),
                cell(text(facts.age(report, f)), "words"),
                cell(code(f.id), "tight"),
            ]
        )
        for f in report.findings
    ]
    headings = (("", "tight"), ("problem", ""), ("what to do", ""), ("seen", ""), ("id", "tight"))
    return section("Findings", table(headings, rows) if rows else NOTHING, kind=_kind(rows))


def _remaining(report: Report) -> Html:
    if not report.remaining_steps:
        return NOTHING
    commands = text("\n".join(report.remaining_steps))
    return section("What is left, as commands", Html(f"<pre>{commands}</pre>"))


def _unknown(report: Report) -> Html:
    return section("Could not be told", items(report.unknown), kind="whole")


def _approvals(report: Report) -> Html:
    rows = [
        row(
            [
                cell(text(words.instant(a.at, like=report.started)), "tight"),
                cell(text(a.who)),
                cell(text(a.authenticated or "not proven")),
                cell(text(a.why)),
                cell(text(a.loss)),
            ]
        )
        for a in report.approvals
    ]
    headings = (("UTC", "tight"), ("who", ""), ("authenticated", ""), ("why", ""), ("loss accepted", ""))
    return section("Approvals", table(headings, rows) if rows else NOTHING, kind="whole")


def _timeline(report: Report) -> Html:
    rows = [
        row(
            [
                cell(text(words.instant(m.at, like=report.started)), "tight"),
                cell(text(facts.plain(m.phase or "")), "tight"),
                cell(text(m.event)),
            ]
        )
        for m in report.timeline
    ]
    return section("Timeline", table((("UTC", "tight"), ("phase", "tight"), ("what happened", "")), rows))


def _attempts(report: Report) -> Html:
    """Only when there was more than one."""
    if len(report.attempts) < 2:
        return NOTHING
    rows = [
        row(
            [
                cell(text(words.instant(a.started_at, like=report.started)), "tight"),
                cell(text(facts.end_of(a, report)), "tight"),
                cell(text(a.host or words.UNKNOWN)),
                cell(text(a.how or words.UNKNOWN)),
            ]
        )
        for a in report.attempts
    ]
    headings = (("started", "tight"), ("ended", "tight"), ("host", ""), ("how", ""))
    return section("Attempts", table(headings, rows), kind="whole")


def _clean_up(report: Report) -> Html:
    rows = [
        row([cell(text(c.step)), cell(text(c.status), "tight")], "bad" if c.status == "failed" else "")
        for c in report.clean_up
    ]
    note = NOTHING
    if kept := facts.kept(report):
        note = Html(f'<p class="note">Kept: {text(", ".join(kept))}.</p>')
    done = table((("step", ""), ("", "tight")), rows) if rows else NOTHING
    return section("Clean up", joined([done, note]), kind="whole")


def _notifications(report: Report) -> Html:
    sent = f"{report.notifications.sent} sent"
    rows = [row([cell(text(n.what)), cell(text(n.why))], "bad") for n in report.notifications.failed]
    body = table((("not sent", ""), ("why", "")), rows) if rows else Html('<p class="note">All were sent.</p>')
    return section("Notifications", body if rows or report.notifications.sent else NOTHING, small=sent, kind="whole")


def _evidence(report: Report, evidence: Evidence) -> Html:
    rows = [row([cell(text(name)), cell(code(value))]) for name, value in facts.provenance(report)]
    rows += [
        row([cell(text(f.name)), cell(code(f.sha256) if f.sha256 else strong("missing"))], "" if f.sha256 else "bad")
        for f in evidence.files
    ]
    head = [cell(text(f"head of the journal ({evidence.entries} entries)")), cell(code(evidence.head))]
    rows.append(row(head, "mark"))
    small = "complete" if report.evidence_complete else "NOT complete"
    note = Html(f'<p class="note">Proof that nothing was altered: {code(facts.verify(report))}</p>')
    known = table((("", ""), ("value, or SHA-256 of the file", "")), rows)
    return section("Evidence", joined([known, note]), small=small)


def _sign() -> Html:
    return Html('<div class="sign"><span>Reviewed by</span><span>Date</span><span>Signature</span></div>')

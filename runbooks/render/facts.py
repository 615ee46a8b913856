"""Cells of the report's tables in words, the same in Markdown and on the page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from runbooks.model import Json
from runbooks.records import StoreLoss
from runbooks.render.words import NONE, UNKNOWN, instant, over_budget, span
from runbooks.report_schema import Report, ReportAttempt, ReportFinding, ReportPhase


def since_fault(report: Report, at: datetime) -> str:
    fault = report.clocks.fault
    if fault is None:
        return NONE
    seconds = (at - fault).total_seconds()
    return f"{'−' if seconds < 0 else '+'}{span(abs(seconds))}"


def exact(at: datetime | None, report: Report) -> str:
    """With tenths of a second."""
    return NONE if at is None else f"{instant(at, like=report.started)}.{at.microsecond // 100_000}"


def weakly_checked(report: Report) -> list[str]:
    return [w for a in report.applications for w in a.weakly_checked]


def kept(report: Report) -> list[str]:
    return [k for a in report.applications for k in a.kept]


def loss(store: StoreLoss) -> str:
    if store.rpo_seconds is not None:
        return span(store.rpo_seconds)
    return UNKNOWN if store.bound_seconds is None else f"≤ {span(store.bound_seconds)}"


def count(store: StoreLoss, number: int | None) -> str:
    """Markers, or objects of a cluster; of those none are given up: nobody acknowledges them."""
    if number is None:
        return NONE if store.name.startswith("cluster_objects:") else UNKNOWN
    return f"{number:,}"


def backup(store: StoreLoss) -> str:
    """Such as "velero orders-0947, 12 min old"."""
    known = store.backup or {}
    age = known.get("age_seconds")
    name = " ".join(str(known[k]) for k in ("kind", "name") if known.get(k))
    return (name or NONE) + (f", {span(float(age))} old" if isinstance(age, int | float) else "")


def plain(name: str) -> str:
    return name.replace("_", " ")


def phase_status(phase: ReportPhase) -> str:
    late = over_budget(phase.seconds, phase.budget_seconds)
    return plain(phase.status) + (", over its budget" if late else "")


def age(report: Report, finding: ReportFinding) -> str:
    return "new" if finding.first_seen_run == report.run_id else f"open since {finding.first_seen_run}"


def end_of(attempt: ReportAttempt, report: Report) -> str:
    return instant(attempt.ended_at, like=report.started) if attempt.ended_at else "no end recorded"


def provenance(report: Report) -> Iterator[tuple[str, object]]:
    """Which software, on which systems, told by which clock."""
    yield "commit", report.software.commit or UNKNOWN
    yield "site file, SHA-256", report.software.site_file_sha256 or UNKNOWN
    yield "lock file, SHA-256", report.software.lock_sha256 or UNKNOWN
    yield from report.tools.items()
    for system, skew in report.skew_seconds.items():
        yield f"clock of {system}", f"{skew:+.3f} s against the runner's"
    for application in report.applications:
        for key, value in application.target.items():
            yield from _pins(f"{application.name}, {plain(key)}", value)


def _pins(name: str, value: Json) -> Iterator[tuple[str, object]]:
    """One line each, such as "orders, namespaces production" and its UID."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _pins(f"{name} {key}", part)
    else:
        yield name, ", ".join(map(str, value)) if isinstance(value, list) else value


def verify(report: Report) -> str:
    return f"dr evidence verify {report.run_id}"

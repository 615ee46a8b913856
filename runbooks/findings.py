"""Findings: something to repair, known by the same id in each run until it is gone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from runbooks.records import Finding
from runbooks.report_schema import Report, ReportFinding
from runbooks.verdict import Verdict

HAVE_LOOKED = (Verdict.PASSED, Verdict.LATE, Verdict.NOT_RECOVERED)


def finding_id(scenario: str, check: str, target: str) -> str:
    return hashlib.sha256(f"{scenario}\n{check}\n{target}".encode()).hexdigest()[:12]


def followed(
    findings: Iterable[Finding], *, scenario: str, run_id: str, earlier: Sequence[Report]
) -> tuple[ReportFinding, ...]:
    """Each finding once, red ones first, with the run that saw it first. *earlier*: reports of the same site."""
    found = {finding_id(scenario, f.check, f.target): f for f in findings}
    ordered = sorted(found.items(), key=lambda item: item[1].severity)
    return tuple(
        ReportFinding(
            id=known,
            severity=finding.severity,
            problem=finding.problem,
            hint=finding.hint,
            first_seen_run=_first_seen(known, earlier) or run_id,
        )
        for known, finding in ordered
    )


def _first_seen(known: str, earlier: Sequence[Report]) -> str | None:
    seen = [r for r in earlier if any(f.id == known for f in r.findings)]
    return min(seen, key=lambda r: r.started).run_id if seen else None


def fixed(findings: Sequence[ReportFinding], earlier: Sequence[Report]) -> tuple[ReportFinding, ...]:
    """What was found by the newest earlier run that came to its end, or by one after it, and now was not found again.

    To be asked of a run that came to its end itself: one that was refused or interrupted has looked at nothing.
    """
    judged = [r.started for r in earlier if r.verdict in HAVE_LOOKED]
    recent = [r for r in earlier if not judged or r.started >= max(judged)]
    was = {f.id: f for r in sorted(recent, key=lambda r: r.started) for f in r.findings}
    still = {f.id for f in findings}
    return tuple(f for known, f in was.items() if known not in still)

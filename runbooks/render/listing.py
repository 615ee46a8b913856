"""All runs at a glance, the newest first."""

from __future__ import annotations

from collections.abc import Sequence

from runbooks.render import words
from runbooks.report_schema import Report

HEADINGS = ("STARTED (UTC)", "RUN", "SCENARIO", "MODE", "APPLICATION", "VERDICT", "RTO", "RPO", "FINDINGS")


def listing(reports: Sequence[Report]) -> str:
    """A table in plain text, without a line break at its end."""
    if not reports:
        return "no runs yet"
    rows = [HEADINGS, *(_row(r) for r in sorted(reports, key=lambda r: r.started, reverse=True))]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _row(report: Report) -> tuple[str, ...]:
    return (
        f"{report.started:%Y-%m-%d %H:%M}",
        report.run_id,
        report.scenario,
        report.mode if report.impact == "real" else f"{report.mode}, {report.impact}",
        ", ".join(a.name for a in report.applications),
        report.verdict,
        words.against(words.actual_rto(report), report.objectives.rto_seconds),
        words.against(words.actual_rpo(report), report.objectives.rpo_seconds),
        _findings(report),
    )


def _findings(report: Report) -> str:
    reds = sum(f.severity == "red" for f in report.findings)
    return f"{len(report.findings)} ({reds} red)" if reds else str(len(report.findings))

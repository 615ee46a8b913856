"""The report of a run: a pure function of its journal and of what a client outside saw."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from runbooks import evidence, findings, outside, report_phases, report_run
from runbooks import report_parts as parts
from runbooks.errors import Refused
from runbooks.records import Impact, Service
from runbooks.render import html, markdown
from runbooks.report_application import applications, worst_actual, worst_clocks, worst_met
from runbooks.report_run import Recorded
from runbooks.report_schema import Actor, Report, ReportApplication, ReportFinding, ReportGap, Software
from runbooks.report_timeline import timeline
from runbooks.verdict import Facts, Holder, Verdict, judge

__all__ = ["UNWRITTEN", "Holder", "Report", "build", "earlier", "save"]
UNWRITTEN = "evidence written"
"""The finding of a run whose evidence directory did not take all of its evidence."""


def build(directory: Path, earlier: Sequence[Report] = (), *, holder: Holder = Holder.ALIVE) -> Report:
    """The report of the run in evidence/<run id>/; the same files always give the same report.

    *earlier*: reports of other runs, to follow findings by. *holder*: what the lease tells of the process that executes
    the run; it counts while the journal has no end.

    Raises:
        Refused: there is no journal, or it was altered after it was written.
    """
    run = report_run.read(directory)
    found = applications(run)
    facts = _facts(run, found, holder)
    verdict = judge(facts)
    clocks = worst_clocks(found)
    courses = report_phases.courses(run.entries, run.opened["budgets"])
    past = [r for r in earlier if _is_before(r, run)]
    followed = findings.followed(
        parts.findings(run.entries, run.application), scenario=run.scenario, run_id=run.run_id, earlier=past
    )
    return Report(
        run_id=run.run_id,
        scenario=run.scenario,
        mode=run.mode,
        impact=run.impact,
        site=run.site,
        verdict=verdict,
        ended=facts.ended,
        service=facts.service,
        evidence_complete=verdict is Verdict.REFUSED or _is_complete(directory, run),
        unknown=parts.unique([*parts.texts(run.entries, "unknown", "what"), *_unknown(run, found)]),
        objectives=run.objectives,
        objectives_met=worst_met(found),
        actual=worst_actual(found),
        clocks=clocks,
        skew_seconds={str(d["system"]): d["seconds"] for d in parts.data(run.entries, "skew")},
        plan=next(iter(parts.data(run.entries, "plan")), {}),
        approvals=parts.approvals(run.entries),
        applications=found,
        phases=tuple(c.phase for c in courses),
        timeline=timeline(run.entries, clocks, courses, mode=run.mode, impact=run.impact, sustain=run.sustain),
        gaps=_gaps(run, found),
        attempts=parts.attempts(run.entries),
        remaining_steps=parts.remaining(run.entries),
        findings=followed,
        improvements=parts.unique([*parts.texts(run.entries, "improvement", "text"), *_fixed(verdict, followed, past)]),
        clean_up=parts.clean_up(run.entries),
        notifications=parts.notifications(run.entries),
        tools={k: v for d in parts.data(run.entries, "tools") for k, v in d.items()},
        software=Software.model_validate(run.opened["software"]),
        actor=Actor.model_validate(run.opened["actor"]),
    )


def _is_complete(directory: Path, run: Recorded) -> bool:
    unwritten = any(d["check"] == UNWRITTEN for d in parts.data(run.entries, "finding"))
    return not unwritten and not evidence.of(directory).missing


def _facts(run: Recorded, found: Sequence[ReportApplication], holder: Holder) -> Facts:
    met = worst_met(found)
    return Facts(
        mode=run.mode,
        ended=parts.ended(run.entries),
        holder=holder,
        has_written=parts.has_changed_target(run.entries),
        step_failed=parts.has_failed(run.entries),
        service=_service(run),
        checks=tuple(c.status for a in found for c in a.checks),
        net_used=bool(parts.of(run.entries, "net")),
        rto_met=met.rto,
        rpo_met=met.rpo,
    )


def _service(run: Recorded) -> Service:
    """As the run's end says; without one a last red sample tells that it is down, a green one proves nothing."""
    if parts.ended(run.entries) is None and run.samples and not run.samples[-1].ok:
        return "down"
    return parts.service(run.entries)


def _is_before(report: Report, run: Recorded) -> bool:
    same = (report.site, report.scenario) == (run.site, run.scenario)
    return same and report.run_id != run.run_id and report.started < run.started


def _fixed(verdict: Verdict, followed: Sequence[ReportFinding], past: Sequence[Report]) -> Iterator[str]:
    if verdict in findings.HAVE_LOOKED:
        for gone in findings.fixed(followed, past):
            yield f"Fixed, first seen in run {gone.first_seen_run}: {gone.problem}"


def _unknown(run: Recorded, found: Sequence[ReportApplication]) -> Iterator[str]:
    """What this report cannot tell, and why; of a run that changed nothing there is nothing to tell."""
    if not parts.has_changed_target(run.entries):
        return
    for application in found:
        if not run.seen_of(application.name):
            yield f"what clients of {application.name} saw: there are no samples from outside"
        for store in application.stores:
            if store.rpo_seconds is None:
                yield f"the loss of {store.name}: it can only be bounded"
    if found[0].clocks.fault is None and run.impact is not Impact.SANDBOX:
        yield "when it broke: nobody said so, and no sample was green before the first red one"


def _gaps(run: Recorded, found: Sequence[ReportApplication]) -> tuple[ReportGap, ...]:
    seen = [
        gap
        for a in found
        for gap in outside.gaps(run.seen_of(a.name), since=a.clocks.fault or a.clocks.started, until=a.clocks.validated)
    ]
    return tuple(ReportGap.model_validate({"from": g.start, "to": g.end}) for g in sorted(seen, key=lambda g: g.start))


def save(report: Report, directory: Path) -> None:
    """report.json, report.md and report.html are there, each whole or not at all."""
    proof = evidence.of(directory)
    samples = outside.read(directory / "samples.jsonl")
    _write(directory / "report.json", report.to_json())
    _write(directory / "report.md", markdown.page(report, proof))
    _write(directory / "report.html", html.page(report, samples, proof))


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def earlier(directory: Path) -> list[Report]:
    """The readable reports of the other runs beside this one's directory, oldest first."""
    found = []
    for path in sorted(directory.parent.glob("*/report.json")):
        if path.parent != directory:
            with contextlib.suppress(Refused):
                found.append(Report.from_file(path))
    return sorted(found, key=lambda r: r.started)

"""How long each phase of a run took, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from runbooks.journal import Entry
from runbooks.model import Instant, Model
from runbooks.report_parts import ended, last_attempt, of, unique
from runbooks.report_schema import PhaseStatus, ReportPhase

WORST_FIRST: tuple[PhaseStatus, ...] = ("failed", "unfinished", "done", "not_run")


class Course(Model):
    """One phase from its first step's begin to its last step's end; null = it did not begin, it has not ended."""

    name: str
    budget_seconds: float | None
    start: Instant | None = None
    end: Instant | None = None
    status: PhaseStatus = "not_run"

    @property
    def phase(self) -> ReportPhase:
        length = None if self.start is None or self.end is None else (self.end - self.start).total_seconds()
        return ReportPhase(
            name=self.name,
            budget_seconds=self.budget_seconds,
            seconds=None if length is None else round(length, 3),
            status=self.status,
        )


def courses(entries: Sequence[Entry], budgets: Mapping[str, float]) -> list[Course]:
    begun = unique(e.phase for e in of(entries, "intent", "clean_up") if e.phase is not None)
    return [_course(Course(name=n, budget_seconds=budgets.get(n)), entries) for n in unique([*budgets, *begun])]


def _course(phase: Course, entries: Sequence[Entry]) -> Course:
    steps: dict[str, list[Entry]] = {}
    for entry in of(entries, "intent", "done", "failed"):
        if entry.phase == phase.name and entry.step is not None:
            steps.setdefault(entry.step, []).append(entry)
    course = _of_steps(phase, steps) if steps else _of_the_end(phase, entries)
    latest = next((e.phase for e in reversed(of(entries, "intent", "clean_up"))), None)
    if course.status == "done" and latest == phase.name and ended(entries) is None:
        return course.model_copy(update={"status": "unfinished"})
    return course


def _of_steps(phase: Course, steps: Mapping[str, Sequence[Entry]]) -> Course:
    """First intent → last end, the time between two attempts included.

    A step counts as ended when it was done first: some are done again on each attempt, long after their phase.
    """
    outcomes = [_outcome(entries) for entries in steps.values()]
    ends = [at for _, at in outcomes if at is not None]
    return phase.model_copy(
        update={
            "start": min(s[0].at for s in steps.values()),
            "end": max(ends, default=None),
            "status": min((status for status, _ in outcomes), key=WORST_FIRST.index),
        }
    )


def _outcome(entries: Sequence[Entry]) -> tuple[PhaseStatus, datetime | None]:
    for entry in of(entries, "done"):
        return "done", entry.at
    last = entries[-1]
    if last.kind == "intent":
        return "unfinished", None
    return "unfinished" if last.data.get("error") == "Aborted" else "failed", last.at


def _of_the_end(phase: Course, entries: Sequence[Entry]) -> Course:
    """Phases that every run ends with have no steps of the flow: from the entry before them, in the last attempt."""
    latest = last_attempt(entries)
    mine = [n for n, e in enumerate(latest) if e.phase == phase.name and e.kind in ("clean_up", "ended")]
    if not mine:
        return phase
    bad = any(latest[n].data.get("status") == "failed" for n in mine)
    start, end = latest[max(mine[0] - 1, 0)].at, latest[mine[-1]].at
    return phase.model_copy(update={"start": start, "end": end, "status": "failed" if bad else "done"})

"""What the outside sees of an application: asked directly, and read from the observer's files."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from runbooks import clocks
from runbooks.errors import NotRecovered, Refused
from runbooks.model import now, spell
from runbooks.outside import spans
from runbooks.records import Check, Marker, Mode, Sample, Service, StoreLoss
from tasks import lines, observer, questions, run_observer, store_losses
from tasks.cases import Case
from tasks.pod_questions import ask_pods
from tasks.run_observer import end as end_observer
from tasks.steps import every_attempt, step
from tasks.velero import BackupRecord
from tasks.waits import NotYet, wait_until

__all__ = [
    "ask_outside", "ask_pods", "count_loss", "end_observer", "ensure_observer", "fault", "markers", "must_be_green",
    "samples", "save_window", "service", "wait_until_visible",
]  # fmt: skip
LOOK_BACK = timedelta(days=1)
CONTEXT = timedelta(minutes=1)


@every_attempt
def ensure_observer(case: Case) -> None:
    """An observer asks this application every second; if none does, one is started that lives as long as the run."""
    run_observer.ensure(case)


def samples(directory: Path, application: str, since: datetime, until: datetime | None = None) -> list[Sample]:
    """The observer's samples of one application, oldest first."""
    found = lines.window(directory / "samples.jsonl", Sample, since=since, until=until)
    return sorted((s for s in found if s.application == application), key=lambda s: (s.at, s.seq))


def markers(directory: Path, application: str, since: datetime, until: datetime | None = None) -> list[Marker]:
    """The markers that the application acknowledged, oldest first."""
    found = lines.window(directory / "markers.jsonl", Marker, since=since, until=until)
    return sorted((m for m in found if m.application == application), key=lambda m: (m.at, m.seq))


def _samples(case: Case, since: datetime) -> list[Sample]:
    return samples(observer.directory(case.site, case.run_id), case.application.name, since)


def _started(case: Case) -> datetime:
    return case.journal.entries[0].at


def fault(case: Case) -> datetime | None:
    """When it broke: recorded, or said, or (in an incident) the last green before the present red."""
    known = case.clock_of("fault") or case.request.fault_at
    if known is not None or case.mode is not Mode.INCIDENT:
        return known
    past = _samples(case, _started(case) - LOOK_BACK)
    return clocks.fault(past, started=_started(case), sustain=case.application.sustain)


def must_be_green(case: Case) -> None:
    """The application was green for its `sustain`, without a gap.

    Raises:
        Refused: it is red, or nobody could tell in time; nothing was changed.
    """
    sustain = case.application.sustain
    if not case.application.probes:
        raise Refused(f"{case.application.name} has no probes", "a drill needs applications.probes in the site file")

    def look() -> bool | NotYet:
        seen = _samples(case, now() - sustain - timedelta(seconds=5))
        if seen and not seen[-1].ok:
            raise Refused(
                f"{case.application.name} is red: {seen[-1].why}",
                "a drill begins in good order; recover it first, or start an incident",
            )
        green = spans(seen)[-1:]
        held = green[0].length if green else timedelta()
        return True if held >= sustain else NotYet(f"green for {held.total_seconds():.0f} s")

    wait_until(
        look,
        within=sustain * 2 + questions.SETTLES_WITHIN,
        what=f"{case.application.name} green for {spell(sustain)}",
        otherwise=Refused,
        hint="does the observer run, and reach the application?",
    )


@step
def wait_until_visible(case: Case) -> None:
    """Clients outside see the application, and went on seeing it for `sustain`.

    Sets the clock `client_visible` to the start of that green. Reads only.

    Raises:
        NotRecovered: it was not green that long in what is left of the phase's budget.
    """
    if not case.application.probes:
        case.note("unknown", what="the application has no probes: nobody knows what clients saw")
        return
    visible = wait_until(
        lambda: _visible(case),
        within=case.within("validate") + case.application.sustain,
        what=f"{case.application.name} green for {spell(case.application.sustain)} from outside",
        otherwise=NotRecovered,
        hint="ask it yourself: does its name point to the right place, and is the gate open?",
    )
    case.clock("client_visible", visible)


def _visible(case: Case) -> datetime | NotYet:
    broke = fault(case)
    seen = _samples(case, broke or _started(case))
    if not seen or now() - seen[-1].at > observer.FRESH:
        run_observer.ensure(case)
        return NotYet("nobody looks")
    if not seen[-1].ok:
        return NotYet(f"red: {seen[-1].why}")
    sustain, restored = case.application.sustain, case.clock_of("restored")
    began = broke or seen[0].at  # an incident whose begin nobody knows is measured from its first sample on
    found = clocks.client_visible(seen, began, sustain, restored=restored)
    return found or NotYet(f"green for {spans(seen)[-1].length.total_seconds():.0f} s")


def save_window(case: Case) -> None:
    """The samples of this run lie with its evidence. Also when nobody looked: then they are empty."""
    since = min(fault(case) or _started(case), _started(case)) - CONTEXT
    case.keep("samples.jsonl", "".join(lines.line(s) for s in _samples(case, since)))


def service(case: Case) -> Service:
    """What a client finds now."""
    if not case.application.probes:
        return "unknown"
    tries = (questions.ask_all(case.application, case.site.dns) for _ in range(3))
    return "back" if any(all(r.ok for r in replies) for replies in tries) else "down"


def ask_outside(case: Case) -> list[Check]:
    """A check for each probe, asked as a client does; a Service that has just been opened is given time to settle."""
    replies = questions.settled(lambda: questions.ask_all(case.application, case.site.dns), case.within("validate"))
    return [questions.check("outside", reply) for reply in replies]


def count_loss(case: Case) -> tuple[StoreLoss, ...]:
    """What each store with data of the application has lost since the backup that was restored."""
    record = case.load("backup", BackupRecord)
    return store_losses.count(
        case, fault=fault(case), backup_started_at=record.backup.started_at, backup=record.summary()
    )

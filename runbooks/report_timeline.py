"""The timeline of a run: one readable sentence for each thing that happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from runbooks.clocks import Clocks
from runbooks.journal import Entry
from runbooks.model import spell
from runbooks.records import Impact, Mode
from runbooks.render.words import span
from runbooks.report_parts import of
from runbooks.report_phases import Course
from runbooks.report_schema import Moment, phase_begins

TOLD_BY_CLOCKS = ("fault", "detected", "declared", "decided", "restored", "validated", "client_visible")
Data = Mapping[str, Any]


def timeline(
    entries: Sequence[Entry],
    clocks: Clocks,
    courses: Sequence[Course],
    *,
    mode: Mode,
    impact: Impact,
    sustain: timedelta,
) -> tuple[Moment, ...]:
    told = [
        *_of_phases(courses),
        *_of_clocks(entries, clocks, mode, impact, sustain),
        *_of_entries(entries),
        *_of_killed(entries),
    ]
    return tuple(sorted(told, key=lambda m: m.at))


def _of_phases(courses: Sequence[Course]) -> Iterator[Moment]:
    for course in courses:
        if course.start is not None:
            yield Moment(at=course.start, phase=course.name, event=phase_begins(course.name))


def _of_clocks(
    entries: Sequence[Entry], clocks: Clocks, mode: Mode, impact: Impact, sustain: timedelta
) -> Iterator[Moment]:
    texts = _clock_texts(mode, impact, sustain)
    for name in TOLD_BY_CLOCKS:
        at: datetime | None = getattr(clocks, name)
        waited = name != "decided" or at != clocks.declared
        if at is not None and waited:
            yield Moment(at=at, phase=_phase_at(entries, at), event=texts[name])


def _clock_texts(mode: Mode, impact: Impact, sustain: timedelta) -> dict[str, str]:
    is_drill = mode is Mode.DRILL
    return {
        "fault": "Fault: the drill breaks the application" if is_drill else "Fault",
        "detected": "Detected: the first wrong answer outside, or the first report",
        "declared": "Declared: the response begins",
        "decided": "Decided: approved",
        "restored": "Restored: the tools are done",
        "validated": f"Validated: every check{' of the copy' if impact is Impact.SANDBOX else ''} is green",
        "client_visible": f"Client visible: clients are served again, and were for {spell(sustain)} after that",
    }


def _phase_at(entries: Sequence[Entry], at: datetime) -> str | None:
    return next((e.phase for e in reversed(entries) if e.phase is not None and e.at <= at), None)


def _of_killed(entries: Sequence[Entry]) -> Iterator[Moment]:
    """An attempt that left no end, when another one followed: its last sign."""
    ends = {e.attempt for e in of(entries, "ended")}
    latest = max((e.attempt for e in entries), default=0)
    for number in sorted({e.attempt for e in entries} - ends - {latest}):
        last = [e for e in entries if e.attempt == number][-1]
        yield Moment(at=last.at, phase=last.phase, event=f"Last sign of attempt {number}: its process ended unrecorded")


def _of_entries(entries: Sequence[Entry]) -> Iterator[Moment]:
    for entry in entries:
        tell = SENTENCES.get(entry.kind)
        sentence = tell(entry, entry.data) if tell else None
        if sentence:
            text = " ".join(sentence.split())
            yield Moment(at=entry.at, phase=entry.phase, event=text[:1].upper() + text[1:])


def _opened(_: Entry, data: Data) -> str:
    who = (data.get("actor") or {}).get("claimed") or "somebody"
    return (
        f"{data['mode']} of {data['scenario']} started by {who}: "
        f"application {data['application']}, site {data['site']}, impact {data['impact']}"
    )


def _plan(_: Entry, data: Data) -> str:
    backup = data.get("backup")
    return f"Plan recorded: backup {backup}" if isinstance(backup, str) else "Plan recorded"


def _write(_: Entry, data: Data) -> str:
    """With the pins of its target: that is what proves that the right thing was changed."""
    what = str(data["what"])
    pins = [f"{k} {v}" for k, v in (data.get("target") or {}).items() if _is_told(v) and str(v) not in what]
    return f"Change: {what}" + (f" ({', '.join(pins)})" if pins else "")


def _is_told(value: object) -> bool:
    return isinstance(value, str | int | float) and value != ""


def _failed(entry: Entry, data: Data) -> str:
    verb = "was stopped" if data.get("error") == "Aborted" else "failed"
    return f"Step {entry.step} {verb}: {data['problem']}"


def _approval(_: Entry, data: Data) -> str:
    return f"approved by {data['who']}: {data['why']} (accepts a loss of: {data['loss']})"


def _checks(_: Entry, data: Data) -> str | None:
    checks = data["checks"]
    if not checks:
        return None
    bad = [c["name"] for c in checks if c["status"] != "passed"]
    more = f" and {len(checks) - 1} more" if len(checks) > 1 else ""
    outcome = f"{len(bad)} NOT passed, first {bad[0]}" if bad else "passed"
    return f"Checked {checks[0]['name']}{more}: {outcome}"


def _stores(_: Entry, data: Data) -> str:
    told = [f"{s['name']} {span(s['rpo_seconds'])}" for s in data["stores"]]
    return f"Loss counted: {', '.join(told)}" if told else "Loss counted: no stores"


def _clean_up(entry: Entry, data: Data) -> str:
    why = f": {data['why']}" if data.get("why") else ""
    return f"Clean up: {data.get('step', entry.step)} {data['status']}{why}"


def _notification(_: Entry, data: Data) -> str | None:
    return None if data["status"] == "sent" else f"could not send {data['what']}: {data.get('why')}"


def _ended(_: Entry, data: Data) -> str:
    reason = data.get("reason")
    why = reason.get("problem") if isinstance(reason, dict) else reason
    return f"The run ended: {data['ended']}, the service is {data['service']}" + (f"; {why}" if why else "")


SENTENCES: dict[str, Callable[[Entry, Data], str | None]] = {
    "opened": _opened,
    "event": lambda _, data: str(data["text"]),
    "plan": _plan,
    "write": _write,
    "failed": _failed,
    "approval": _approval,
    "checks": _checks,
    "stores": _stores,
    "net": lambda _, data: f"the net is used: {data['why']}",
    "finding": lambda _, data: f"Finding ({data['severity']}): {data['problem']}",
    "clean_up": _clean_up,
    "notification": _notification,
    "ended": _ended,
}

"""Parts of a report, each made from the journal's entries alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from runbooks.clocks import Clocks
from runbooks.journal import Entry, Kind
from runbooks.model import Json, Model
from runbooks.records import Check, Ended, Finding, Service, Severity, StoreLoss
from runbooks.report_schema import (
    BY_THE_NET,
    Notifications,
    ReportApproval,
    ReportAttempt,
    ReportCleanUp,
    Unsent,
)

M = TypeVar("M", bound=Model)
PREPARES = (None, "prepare", "record", "clean_up")
"""Phases that change nothing for good: lock, safety backup and kept volumes are set up and set back."""


OF_ONE = ("application", "checks", "stores")


def of(entries: Iterable[Entry], *kinds: Kind) -> list[Entry]:
    return [e for e in entries if e.kind in kinds]


def data(entries: Iterable[Entry], *kinds: Kind) -> list[dict[str, Any]]:
    return [dict(e.data) for e in of(entries, *kinds)]


def texts(entries: Iterable[Entry], kind: Kind, name: str) -> list[str]:
    return [str(d[name]) for d in data(entries, kind)]


def last_attempt(entries: Sequence[Entry]) -> list[Entry]:
    number = max((e.attempt for e in entries), default=0)
    return [e for e in entries if e.attempt == number]


def end(entries: Sequence[Entry]) -> Entry | None:
    """How the last attempt ended; an end of an earlier one was taken back by resuming the run."""
    return next(iter(reversed(of(last_attempt(entries), "ended"))), None)


def ended(entries: Sequence[Entry]) -> Ended | None:
    found = end(entries)
    return None if found is None else found.data["ended"]  # type: ignore[return-value]


def has_failed(entries: Sequence[Entry]) -> bool:
    """Did the last attempt end by an error, whatever had been checked before it?"""
    found = end(entries)
    return found is not None and found.data.get("reason") is not None


def service(entries: Sequence[Entry]) -> Service:
    found = end(entries)
    return "unknown" if found is None else found.data["service"]  # type: ignore[return-value]


def last_instant(entries: Sequence[Entry]) -> datetime:
    """When the run ended, or its last sign of life; what is sent afterwards does not count."""
    found = end(entries)
    return entries[-1].at if found is None else found.at


def has_changed_target(entries: Iterable[Entry]) -> bool:
    """Was anything changed but what `prepare` sets up and `clean_up` sets back?"""
    return any(e.phase not in PREPARES for e in of(entries, "write"))


def clocks(entries: Sequence[Entry], started: datetime) -> Clocks:
    """The recorded instants; the first one of a name counts, also over several attempts."""
    recorded: dict[str, Json] = {}
    for entry in data(entries, "clock"):
        recorded.setdefault(str(entry["name"]), entry["at"])
    read = Clocks.model_validate({**recorded, "started": started})
    needs_no_approval = read.decided is None and _was_begun(entries, "restore")
    return read.model_copy(update={"decided": read.declared}) if needs_no_approval else read


def _was_begun(entries: Iterable[Entry], phase: str) -> bool:
    return any(e.phase == phase for e in of(entries, "intent"))


# -- what belongs to one application ------------------------------------------------------------------------------


def names(entries: Sequence[Entry], default: str) -> list[str]:
    """The applications of a run, the one it was opened for first."""
    named = [e["name"] for e in data(entries, "application") if "name" in e]
    return list(dict.fromkeys([default, *(str(n) for n in named)]))


def about(entries: Iterable[Entry], name: str, default: str) -> list[Entry]:
    """What a run says of one application.

    Checks and stores that name none are those of the one the run was opened for; clocks and steps belong to all.
    """
    return [e for e in entries if _names(e, default if e.kind in OF_ONE else name) == name]


def _names(entry: Entry, otherwise: str) -> Json:
    if entry.kind == "opened":
        return otherwise
    return entry.data.get("name" if entry.kind == "application" else "application", otherwise)


def described(entries: Sequence[Entry]) -> dict[str, Any]:
    """Target, way, kept, isolated_by: what a later entry names takes the place of what an earlier one said."""
    merged: dict[str, Any] = {"target": {}, "way": None, "kept": (), "isolated_by": None}
    for entry in data(entries, "application"):
        target = {**merged["target"], **(entry.get("target") or {})}
        merged |= {k: v for k, v in entry.items() if k in merged} | {"target": target}
    return merged | ({"way": BY_THE_NET} if of(entries, "net") else {})


def checks(entries: Iterable[Entry]) -> list[Check]:
    latest: dict[str, Check] = {}
    for entry in data(entries, "checks"):
        for raw in entry["checks"]:
            check = Check.model_validate(raw)
            latest[check.name] = check
    return list(latest.values())


def weakly_checked(entries: Iterable[Entry]) -> tuple[str, ...]:
    return unique(name for entry in data(entries, "checks") for name in entry.get("weakly_checked", ()))


def stores(entries: Iterable[Entry]) -> tuple[StoreLoss, ...]:
    found = data(entries, "stores")
    return tuple(StoreLoss.model_validate(raw) for raw in found[-1]["stores"]) if found else ()


def unique(names: Iterable[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(n) for n in names))


# -- the run as a whole -------------------------------------------------------------------------------------------


def attempts(entries: Sequence[Entry]) -> tuple[ReportAttempt, ...]:
    ends = {e.attempt: e.at for e in of(entries, "ended")}
    return tuple(
        ReportAttempt(
            started_at=entry.at,
            ended_at=ends.get(entry.attempt),
            host=_text(entry.data.get("host")),
            how=_text(entry.data.get("how")),
        )
        for entry in of(entries, "attempt")
    )


def _text(value: Json) -> str | None:
    return None if value is None else str(value)


def approvals(entries: Iterable[Entry]) -> tuple[ReportApproval, ...]:
    return tuple(ReportApproval.model_validate(d) for d in data(entries, "approval"))


def clean_up(entries: Iterable[Entry]) -> tuple[ReportCleanUp, ...]:
    latest = {str(e.data.get("step", e.step)): str(e.data["status"]) for e in of(entries, "clean_up")}
    return tuple(ReportCleanUp(step=step, status=status) for step, status in latest.items())


def notifications(entries: Iterable[Entry]) -> Notifications:
    """What was sent in the end is not a failure, however often it was tried."""
    tried = data(entries, "notification")
    sent = [d["what"] for d in tried if d["status"] == "sent"]
    failed = {str(d["what"]): str(d.get("why") or "no reason given") for d in tried if d["what"] not in sent}
    return Notifications(sent=len(sent), failed=tuple(Unsent(what=w, why=y) for w, y in failed.items()))


def remaining(entries: Sequence[Entry]) -> tuple[str, ...]:
    """What is left to do; a run that was resumed and finished has nothing left but what its last attempt says."""
    source = last_attempt(entries) if ended(entries) in ("finished", "refused") else entries
    found = data(source, "remaining")
    return unique(found[-1]["steps"]) if found else ()


def findings(entries: Sequence[Entry], application: str) -> list[Finding]:
    """What was noted, and what made the run fail: that is to be repaired, too."""
    noted = [Finding.model_validate(d) for d in data(entries, "finding")]
    known = {f.problem for f in noted}
    return noted + [f for f in _failures(entries, application) if f.problem not in known]


def _failures(entries: Sequence[Entry], application: str) -> Iterable[Finding]:
    done = {e.step for e in of(entries, "done")}
    for entry in of(last_attempt(entries), "failed"):
        if entry.step not in done and entry.data.get("error") != "Aborted":
            yield _failure(str(entry.step), application, entry.data)
    last = end(entries)
    reason = None if last is None else last.data.get("reason")
    if ended(entries) == "crashed" and isinstance(reason, dict):
        yield _failure("the program", application, reason)


def _failure(check: str, application: str, said: Mapping[str, Json]) -> Finding:
    return Finding(
        check=check,
        target=application,
        severity=Severity.RED,
        problem=str(said.get("problem")),
        hint=str(said.get("hint")),
    )

"""restic's snapshots: which one is the right one to restore."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime

from runbooks.errors import Refused
from runbooks.file_sets import FileSet
from runbooks.model import Instant, Json, Model, rfc3339

SHORTEST_ID = 8


class Snapshot(Model):
    """One snapshot; `time` is when its backup began, by the host's clock."""

    id: str
    time: Instant
    hostname: str
    paths: tuple[str, ...]
    tags: tuple[str, ...] = ()
    tree: str

    @property
    def short(self) -> str:
        return self.id[:SHORTEST_ID]

    def summary(self, at: datetime) -> dict[str, Json]:
        """As a report shows it."""
        age = (at - self.time).total_seconds()
        return {"kind": "restic", "name": self.short, "completed_at": rfc3339(self.time), "age_seconds": age}


class Passed(Model):
    """A snapshot that was passed over, and why."""

    snapshot: str
    why: str


class Choice(Model):
    snapshot: Snapshot
    why: str
    rejected: tuple[Passed, ...]


def parsed(output: str) -> tuple[Snapshot, ...]:
    """What `restic snapshots --json` wrote, oldest first."""
    found = json.loads(output) or []
    return tuple(sorted((_snapshot(raw) for raw in found), key=lambda s: s.time))


def _snapshot(raw: dict[str, Json]) -> Snapshot:
    kept = {name: raw[name] for name in ("id", "time", "hostname", "paths", "tree")}
    return Snapshot.model_validate({**kept, "tags": raw.get("tags") or ()})


def choose(
    snapshots: Iterable[Snapshot],
    of: FileSet,
    *,
    before: datetime | None,
    incomplete: Iterable[str] = (),
    named: str | None = None,
) -> Choice:
    """The newest complete one of these files from before the fault, or the *named* one.

    *incomplete*: ids of snapshots of which it was recorded that files could not be read.

    Raises:
        Refused: there is none, or none of that id, with the reason for each.
    """
    broken = frozenset(incomplete)
    judged = [(s, _unusable(s, of, before, broken)) for s in sorted(snapshots, key=lambda s: s.time, reverse=True)]
    if named is not None:
        return _named(named, judged, of)
    rejected = tuple(Passed(snapshot=s.short, why=why) for s, why in judged if why is not None)
    usable = [s for s, why in judged if why is None]
    if not usable:
        told = "".join(f"\n  {one.snapshot}: {one.why}" for one in rejected[:20])
        raise Refused(
            f"no snapshot of {of.store} can be restored; {len(rejected)} were looked at{told}",
            "name one with --backup if you know better: restic snapshots lists them",
        )
    ahead = f" before {rfc3339(before)}" if before else ""
    return Choice(snapshot=usable[0], why=f"the newest of {len(usable)} complete ones{ahead}", rejected=rejected)


def _unusable(snapshot: Snapshot, of: FileSet, before: datetime | None, broken: frozenset[str]) -> str | None:
    if snapshot.hostname != of.known_as:
        return f"it is from host {snapshot.hostname}, not {of.known_as}"
    if missing := set(of.paths) - set(snapshot.paths):
        return f"it does not hold {', '.join(sorted(missing))}"
    if before is not None and snapshot.time >= before:
        return f"it was begun at {rfc3339(snapshot.time)}, after the fault"
    if snapshot.id in broken:
        return "it is not complete: files could not be read"
    return None


def _named(named: str, judged: list[tuple[Snapshot, str | None]], of: FileSet) -> Choice:
    """restic itself answers a wrong id with an empty list and exit code 0."""
    found = [(s, why) for s, why in judged if s.id.startswith(named)] if len(named) >= SHORTEST_ID else []
    if len(found) != 1:
        there = ", ".join(s.short for s, why in judged if why is None) or "none"
        raise Refused(
            f"{of.repository} has {len(found)} snapshots {named!r}",
            f"name one by 8 characters of its id or more; usable ones of {of.store}: {there}",
        )
    snapshot, why = found[0]
    if why is not None and "not complete" not in why:
        raise Refused(f"snapshot {snapshot.short} cannot be used for {of.store}: {why}", "name another one")
    return Choice(snapshot=snapshot, why="named by a person" + (f", though {why}" if why else ""), rejected=())

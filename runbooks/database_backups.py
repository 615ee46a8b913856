"""What a pgBackRest repository holds, as `info --output=json` tells it, and whether the WAL in it has no gap."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runbooks.model import Instant, Model, from_epoch

NO_STANZA, NO_BACKUP, OTHER_DATABASE = 1, 2, 5
"""Of status.code. A stanza that is missing is told this way, too, with exit code 0."""
SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})-[0-9a-f]{40}(\.\w+)?$")
HISTORY = re.compile(r"([0-9A-F]{8})\.history$")
SEGMENT_BYTES = 16 << 20


class BackupSet(Model):
    """One backup. `damaged`: it, or one that it builds on, was made over pages whose checksums were wrong."""

    label: str
    kind: str
    started_at: Instant
    stopped_at: Instant
    wal_start: str
    wal_stop: str
    size_bytes: int
    damaged: bool


class Repository(Model):
    """`backups` oldest first. `archive` is the identifier of the archive of this PostgreSQL, such as 15-1."""

    status: int
    message: str
    system_identifier: str | None
    backups: tuple[BackupSet, ...]
    archive: str | None
    is_locked: bool

    @property
    def usable(self) -> tuple[BackupSet, ...]:
        return tuple(backup for backup in self.backups if not backup.damaged)


def parsed(answer: Sequence[Mapping[str, Any]]) -> Repository:
    """Of the one stanza that was asked for; an empty answer means that there is none."""
    none: Mapping[str, Any] = {"status": {"code": NO_STANZA, "message": "missing stanza path"}}
    stanza = answer[0] if answer else none
    listed = stanza.get("backup", [])
    bad = {one["label"] for one in listed if one.get("error")}
    databases = stanza.get("db", [])
    archives = stanza.get("archive", [])
    return Repository(
        status=stanza["status"]["code"],
        message=str(stanza["status"]["message"]),
        system_identifier=str(databases[-1]["system-id"]) if databases else None,
        backups=tuple(_backup(one, bad) for one in listed),
        archive=str(archives[-1]["id"]) if archives else None,
        is_locked=bool(stanza["status"].get("lock", {}).get("backup", {}).get("held")),
    )


def _backup(one: Mapping[str, Any], bad: set[str]) -> BackupSet:
    return BackupSet(
        label=one["label"],
        kind=one["type"],
        started_at=from_epoch(one["timestamp"]["start"]),
        stopped_at=from_epoch(one["timestamp"]["stop"]),
        wal_start=one["archive"]["start"],
        wal_stop=one["archive"]["stop"],
        size_bytes=one["info"]["size"],
        damaged=bool({one["label"], *(one.get("reference") or ())} & bad),
    )


class Timeline(Model):
    """Where a timeline left another one: from a history file's last line."""

    number: int
    parent: int
    switched_at: int


def timeline(name: str, text: str) -> Timeline | None:
    lines = [line.split("\t") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        return None
    parent, lsn, *_ = lines[-1]
    high, low = lsn.split("/")
    return Timeline(number=int(name[:8], 16), parent=int(parent), switched_at=(int(high, 16) << 32) + int(low, 16))


def gaps(
    paths: Iterable[str], timelines: Iterable[Timeline], first: str, last: str, *, size: int = SEGMENT_BYTES
) -> list[str]:
    """The segments that are missing from *first* on to *last*, or a newer one that is there, in order.

    Each must be there on the timeline that a recovery reads it from: the newest one that it belongs to.
    """
    there = {(int(m[1], 16), _number(m[2], m[3], size)) for path in paths if (m := SEGMENT.search(path))}
    known = {one.number: one for one in timelines}
    begin_on, begin = int(first[:8], 16), _number(first[8:16], first[16:24], size)
    end_on, end = int(last[:8], 16), _number(last[8:16], last[16:24], size)
    newest = max((end_on, *(on for on, _ in there)))
    upto = max((end, *(number for on, number in there if on == newest)))
    missing = []
    on = newest
    while True:
        parent = known.get(on)
        starts = begin if on == begin_on or parent is None else max(begin, parent.switched_at // size)
        missing += [_name(on, number, size) for number in range(starts, upto + 1) if (on, number) not in there]
        if on == begin_on or parent is None:
            break
        upto, on = starts - 1, parent.parent
    if on != begin_on:
        missing.append(f"the history of timeline {on}, which leads back to timeline {begin_on}")
    return sorted(missing)


def _number(high: str, low: str, size: int) -> int:
    return int(high, 16) * (0x100000000 // size) + int(low, 16)


def _name(on: int, number: int, size: int) -> str:
    per_log = 0x100000000 // size
    return f"{on:08X}{number // per_log:08X}{number % per_log:08X}"

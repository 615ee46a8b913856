"""The WAL in a repository: is there a gap between a backup and the newest segment?"""

from __future__ import annotations

import re
from collections.abc import Iterable

from runbooks.model import Model

SEGMENT = re.compile(r"(?:^|/)([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(-[0-9a-f]{40}(\.\w+)?)?$")
"""As a repository names it, with its checksum; or as a server does."""
HISTORY = re.compile(r"([0-9A-F]{8})\.history$")
SEGMENT_BYTES = 16 << 20


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
    return Timeline(number=int(name[:8], 16), parent=int(parent), switched_at=position(lsn))


def position(lsn: str) -> int:
    """Of 0/5000000 and its like: comparable."""
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn(position: int) -> str:
    """As PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


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


def name(path: str) -> str | None:
    """Of a segment in a repository; None: it is another file."""
    found = SEGMENT.search(path)
    return None if found is None else "".join(found.groups()[:3])


def begin(segment: str, *, size: int = SEGMENT_BYTES) -> int:
    """Its first position."""
    return _number(segment[8:16], segment[16:24], size) * size


def segment(on: int, at: int, *, size: int = SEGMENT_BYTES) -> str:
    """The one that holds a position on a timeline."""
    return _name(on, at // size, size)


def between(first: str, last: str, *, size: int = SEGMENT_BYTES) -> list[str]:
    """The segments from one to another, on the timeline of the first."""
    begin, end = (_number(name[8:16], name[16:24], size) for name in (first, last))
    return [_name(int(first[:8], 16), number, size) for number in range(begin, end + 1)]


def is_there(name: str, paths: Iterable[str]) -> bool:
    return any((found := SEGMENT.search(path)) and "".join(found.groups()[:3]) == name for path in paths)


def _number(high: str, low: str, size: int) -> int:
    return int(high, 16) * (0x100000000 // size) + int(low, 16)


def _name(on: int, number: int, size: int) -> str:
    per_log = 0x100000000 // size
    return f"{on:08X}{number // per_log:08X}{number % per_log:08X}"

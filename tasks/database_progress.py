"""How far a long step has come: told every few seconds, with how long it will still take."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta

from runbooks.model import spell
from tasks.cases import Case
from tasks.database_server import Postgres

EVERY_SECONDS = 5.0
MEGABYTE = 1_000_000
PERCENT = re.compile(r", (\d+(?:\.\d+)?)%\)")
REPLAYING = """
for pid in "$@"; do
    tr '\\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | sed -n 's/.*startup recovering \\([0-9A-F]\\{24\\}\\).*/\\1/p'
done; true
"""
"""The segment that the startup process is at, which its title says from the first moment on."""
SEGMENT_BYTES = """"$2/pg_controldata" "$1" | sed -n 's/^Bytes per WAL segment: *//p'"""


class Progress:
    """Of one step: *what* is done, in megabytes of *total_bytes*."""

    def __init__(self, case: Case, what: str, total_bytes: int) -> None:
        self._case, self._what, self._total = case, what, max(total_bytes, 1)
        self._began = self._told = time.monotonic()

    def at(self, done_bytes: float) -> None:
        now = time.monotonic()
        if now - self._told < EVERY_SECONDS:
            return
        self._told = now
        self._case.event(told(self._what, min(done_bytes, self._total), self._total, now - self._began))


def told(what: str, done_bytes: float, total_bytes: int, seconds: float) -> str:
    """Such as "restored: 512 of 2048 MB (25 %), about 36 s more"."""
    left = round(seconds * (total_bytes - done_bytes) / done_bytes) if done_bytes else 0
    more = f", about {spell(timedelta(seconds=left))} more" if done_bytes else ""
    share = f"{done_bytes / MEGABYTE:.0f} of {total_bytes / MEGABYTE:.0f} MB ({100 * done_bytes / total_bytes:.0f} %)"
    return f"{what}: {share}{more}"


def of_restore(line: str) -> float | None:
    """How much of all files is there, 0 to 1, by a line of pgBackRest; None: it says something else."""
    found = PERCENT.search(line)
    return None if found is None else float(found[1]) / 100


def segments_between(first: str, last: str, segment_bytes: int) -> int:
    """How many segments of WAL lie from *first* to *last*; their timelines do not count."""
    return max(_number(last, segment_bytes) - _number(first, segment_bytes), 0)


def _number(name: str, segment_bytes: int) -> int:
    return int(name[8:16], 16) * (0x100000000 // segment_bytes) + int(name[16:24], 16)


class Replay:
    """The WAL that is replayed, of that from *first* to what *last* says, which is asked when there is time for it;
    *first* None: nobody knows how much it is, and nothing is told."""

    def __init__(self, case: Case, postgres: Postgres, first: str | None, last: Callable[[], str]) -> None:
        self._case, self._postgres, self._first, self._last = case, postgres, first, last
        self._progress: Progress | None = None
        self._bytes = 0
        self._at, self._looked = "", time.monotonic()

    def look(self) -> str:
        """The segment that is being replayed, as it was seen a few seconds ago; empty: it was not seen yet."""
        if time.monotonic() - self._looked >= EVERY_SECONDS:
            self._looked = time.monotonic()
            seen = self._postgres.sh(REPLAYING, *self._postgres.processes()).split()
            if seen:
                self._at = seen[-1]
                self._tell()
        return self._at

    def _tell(self) -> None:
        if self._first is None:
            return
        if self._progress is None:
            said = self._postgres.sh(SEGMENT_BYTES, self._postgres.data, self._postgres.server.programs).strip()
            self._bytes, last = int(said or 16 * 1024 * 1024), self._last()
            total = (segments_between(self._first, last, self._bytes) + 1) * self._bytes
            self._progress = Progress(self._case, f"WAL replayed up to {last}", total)
        self._progress.at(segments_between(self._first, self._at, self._bytes) * self._bytes)

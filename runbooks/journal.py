"""The journal is the state of a run: append-only, hash-chained, synced to disk before anything goes on.

Kinds of entries and their data (everything the report is made from):

opened       scenario mode impact site application parameters objectives{rto_seconds,rpo_seconds} sustain_seconds
             budgets{phase: seconds} software{commit,site_file_sha256,lock_sha256} actor{claimed,authenticated}
attempt      host pid how(prefect|plain) flow_run_id
intent       (a step begins)                    done      evidence (a step ended well)
failed       error problem hint (a step ended badly; error = the class's name)
write        what target{…} (just before each change of the world)
clock        name at (the first entry of a name counts)
plan         the plan, once
approval     who authenticated why loss at
application  target{…}? way? kept[…]? isolated_by? (later entries add to earlier ones)
checks       checks[…] weakly_checked[…] (a later check of the same name replaces the earlier one)
stores       stores[…] (StoreLoss each; a later entry replaces the earlier one)
net          why (the safety net was used)
finding      Finding's fields                   improvement  text
unknown      what                               skew         system seconds
event        text (a line of the timeline)      tools        {name: version}
notification what status(sent|failed) why       clean_up     step status(done|failed) why
remaining    steps[…] (what is left, as commands for a person)
ended        ended(finished|refused|aborted|crashed) service(back|down|unknown) reason
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from runbooks.errors import Refused
from runbooks.model import Instant, Json, Model, now, rfc3339

Kind = Literal[
    "opened", "attempt", "intent", "done", "failed", "write", "clock", "plan", "approval", "application", "checks",
    "stores", "net", "finding", "improvement", "unknown", "skew", "event", "tools", "notification", "clean_up",
    "remaining", "ended",
]  # fmt: skip
GENESIS = "0" * 64


class Entry(Model):
    seq: int
    at: Instant
    attempt: int
    kind: Kind
    phase: str | None
    step: str | None
    data: dict[str, Json]
    prev: str
    hash: str


def digest(entry: dict[str, Any]) -> str:
    """SHA-256 over everything but the hash itself, in canonical JSON."""
    rest = {k: v for k, v in entry.items() if k != "hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read(path: Path) -> list[Entry]:
    """The entries of a journal, chain checked; a torn last line (killed in mid-write) is left out.

    Raises:
        Refused: an entry was altered or is missing.
    """
    return parse(path.read_bytes(), path)


def parse(text: bytes, path: Path) -> list[Entry]:
    """The entries of a journal that lies at *path*, or will. Raises as `read`."""
    entries: list[Entry] = []
    lines = text.split(b"\n")
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            raw = json.loads(line)
            entry = Entry.model_validate(raw)
        except (ValueError, ValidationError) as error:
            if number == len(lines) - 1:
                break
            raise _broken(path, number + 1, "is not an entry") from error
        if raw["hash"] != digest(raw) or entry.prev != (entries[-1].hash if entries else GENESIS):
            raise _broken(path, number + 1, "does not continue the chain")
        entries.append(entry)
    return entries


def _broken(path: Path, line: int, what: str) -> Refused:
    return Refused(
        f"{path} line {line} {what}",
        "the journal was altered after it was written; compare it with the copy in the evidence store",
    )


class Journal:
    """Appends entries, from any thread; holds what was read, so that a resumed run sees its past."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self.entries = read(path) if path.exists() else []
        self.attempt = max((e.attempt for e in self.entries), default=0)
        self.unsaved: str | None = None
        self._known_lines: list[bytes] = []
        lines = self._lines()
        self._on_disk = (len(lines), sum(map(len, lines)))
        if lines and path.stat().st_size == self._on_disk[1] - 1:
            self._on_disk = (len(lines) - 1, self._on_disk[1] - len(lines[-1]))

    def _flush(self) -> None:
        """Bring the file up to date, from where it is known to be good.

        What lies behind that is half a line after a kill, or entries that were written just before a signal's handler
        raised: they are written again, the same.
        """
        count, size = self._on_disk
        data = b"".join(self._lines()[count:])
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(handle, size)
            written = 0
            while written < len(data):  # a disk that is nearly full takes a part
                written += os.pwrite(handle, data[written:], size + written)
            os.fsync(handle)
        finally:
            os.close(handle)
        self._on_disk = (len(self.entries), size + len(data))

    def _lines(self) -> list[bytes]:
        """One an entry, made once: the whole journal is sent after each entry."""
        new = self.entries[len(self._known_lines) :]
        self._known_lines += (json.dumps(_raw(e), separators=(",", ":")).encode() + b"\n" for e in new)
        return self._known_lines

    @property
    def head(self) -> str:
        return self.entries[-1].hash if self.entries else GENESIS

    def begin_attempt(self, **data: Any) -> None:
        self.attempt += 1
        self.append("attempt", **data)

    def append(self, kind: Kind, *, phase: str | None = None, step: str | None = None, **data: Any) -> Entry:
        """Write one entry and sync it to disk before returning it.

        What the disk does not take stays in memory, `unsaved` says why, and it is written with the next entry.
        """
        with self._lock:
            raw: dict[str, Any] = {
                "seq": len(self.entries) + 1,
                "at": rfc3339(now()),
                "attempt": self.attempt,
                "kind": kind,
                "phase": phase,
                "step": step,
                "data": data,
                "prev": self.head,
            }
            entry = Entry.model_validate({**raw, "hash": digest(raw)})
            self.entries.append(entry)
            self.save()
            return entry

    def save(self) -> None:
        """The file is up to date, or `unsaved` says why not."""
        with self._lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._flush()
            except OSError as error:
                self.unsaved = error.strerror or str(error)
            else:
                self.unsaved = None

    def withdraw(self) -> None:
        """The last entry was never written, and what it announced is not done."""
        with self._lock:
            self.entries.pop()
            del self._known_lines[len(self.entries) :]

    def content(self) -> bytes:
        """Every entry, also those that the disk did not take."""
        with self._lock:
            return b"".join(self._lines())

    def of(self, kind: Kind) -> Iterator[Entry]:
        return (e for e in list(self.entries) if e.kind == kind)


def _raw(entry: Entry) -> dict[str, Any]:
    raw = entry.model_dump(mode="python")
    return {**raw, "at": rfc3339(entry.at)}

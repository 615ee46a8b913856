"""Files of JSON lines in the order of their `at`: one process appends, others read a window without reading it all."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from collections import deque
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import TypeAdapter

from runbooks.model import Json, Model, rfc3339
from tasks.reserve import Reserve

M = TypeVar("M", bound=Model)
LOG = logging.getLogger("dr")
DISORDER = timedelta(seconds=5)
"""Lines are written when the answer came but dated when it was asked, and clocks are corrected by small steps."""
TAIL_BYTES = 64 * 1024
LONGEST = 200_000
"""Lines that wait for room: a day of samples and markers is some 60 MB."""


class Log:
    """Appends; a line that a kill left torn is cut off first. Safe to use from several threads of one process.

    A full disk ends nothing: the *reserve* is given up; when that is used, too, lines wait in memory, in their order.
    """

    def __init__(self, path: Path, reserve: Reserve | None = None) -> None:
        self._lock, self._path, self._reserve = threading.Lock(), path, reserve
        self._waiting: deque[bytes] = deque(maxlen=LONGEST)
        self._is_told = False
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        self._file = path.open("ab", buffering=0)
        self._size = self._file.seek(0, os.SEEK_END)

    def append(self, model: Model) -> None:
        """The line is with the operating system when this returns: a kill of this process loses nothing."""
        text = line(model).encode()
        with self._lock:
            self._waiting.append(text)
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            try:
                self._write(self._waiting[0])
            except OSError as error:
                if self._reserve is not None and self._reserve.is_taken:
                    self._reserve.release()
                    continue
                if not self._is_told:
                    LOG.error("%s is not written: %s; its lines wait in memory", self._path, error.strerror)
                self._is_told = True
                return
            self._waiting.popleft()
        self._is_told = False

    def _write(self, text: bytes) -> None:
        """The whole line or nothing: a disk that is nearly full takes a part."""
        if self._file.write(text) != len(text):
            self._file.truncate(self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += len(text)

    def close(self) -> None:
        with self._lock:
            self._file.close()


def line(model: Model) -> str:
    """One line of JSON, its instants in UTC with milliseconds."""
    raw = {k: rfc3339(v) if isinstance(v, datetime) else v for k, v in model.model_dump().items()}
    return json.dumps(raw, separators=(",", ":"), ensure_ascii=False) + "\n"


def _cut_torn_line(path: Path) -> None:
    if path.exists():
        with path.open("r+b") as file:
            file.truncate(_end_of_whole_lines(file))


def _end_of_whole_lines(file: BinaryIO) -> int:
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(end - TAIL_BYTES, 0)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def window(path: Path, kind: type[M], *, since: datetime, until: datetime | None = None) -> list[M]:
    """The lines from *since* to *until*, in the order of the file; a file that does not exist has none."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(_first_line_at(file, since - DISORDER))
        raw = file.read()
    whole = raw[: raw.rfind(b"\n") + 1]
    found = TypeAdapter(list[kind]).validate_json(b"[" + whole.strip().replace(b"\n", b",") + b"]")  # type: ignore[valid-type]
    return [one for one in found if since <= _at(one) and (until is None or _at(one) <= until)]


def tail(path: Path) -> list[dict[str, Json]]:
    """The last whole lines, 64 KiB of them at most, oldest first."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        end = _end_of_whole_lines(file)
        start = max(end - TAIL_BYTES, 0)
        file.seek(start)
        found = file.read(end - start).splitlines()
    return [json.loads(one) for one in (found[1:] if start else found)]


def _first_line_at(file: BinaryIO, since: datetime) -> int:
    """The offset of a line at or shortly before *since*, by bisection: a year of lines takes 30 reads."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > TAIL_BYTES:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        found = file.readline()
        if found.endswith(b"\n") and datetime.fromisoformat(json.loads(found)["at"]) < since:
            low = middle
        else:
            high = middle
    file.seek(low)
    if low:
        file.readline()
    return file.tell()


def _at(model: Any) -> datetime:
    at: datetime = model.at
    return at

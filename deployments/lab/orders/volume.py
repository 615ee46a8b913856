"""The volume: invoices as files, and markers appended to one file an hour by all replicas at once."""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from .settings import DownError

SEED = "seed.json"  # {"invoices": n}: what the volume held when it was seeded; missing on an empty volume


def check(data: Path) -> None:
    """Raises: DownError, unless the volume is readable and still holds as many invoices as were seeded."""
    try:
        seeded = json.loads((data / SEED).read_bytes())["invoices"]
        present = sum(1 for _ in (data / "invoices").iterdir())
    except (OSError, ValueError, KeyError) as error:
        raise DownError(f"volume {data} has lost its seed: {error}") from error
    if present < seeded:
        raise DownError(f"volume {data} holds {present} of {seeded} invoices")


def invoice(data: Path, number: int) -> bytes | None:
    try:
        return (data / "invoices" / f"{number}.txt").read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DownError(f"volume {data}: {error}") from error


class Markers:
    """Acknowledged markers. What is on the disk counts: memory only spares reading the same lines again."""

    def __init__(self, data: Path) -> None:
        self._folder = data / "markers"
        self._read: dict[str, tuple[int, int]] = {}  # file → (inode, bytes read)
        self._known: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, marker: str, seq: int) -> int:
        """The sequence number stored under *marker*: *seq*, fsynced, or the one that was there already."""
        try:
            self._folder.mkdir(exist_ok=True)
            with self._alone():
                self._catch_up()
                if marker not in self._known:
                    self._append(json.dumps({"id": marker, "seq": seq}).encode())
                    self._known[marker] = seq
                return self._known[marker]
        except OSError as error:
            raise DownError(f"volume {self._folder.parent}: {error}") from error

    def after(self, seq: int) -> list[int]:
        try:
            with self._lock:
                self._catch_up()
                return sorted(number for number in self._known.values() if number > seq)
        except OSError as error:
            raise DownError(f"volume {self._folder.parent}: {error}") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Alone among the threads here and the other replicas, which hold the same volume."""
        with self._lock:
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield
            finally:
                os.close(folder)

    def _catch_up(self) -> None:
        files = sorted(self._folder.glob("*.jsonl"))
        if not self._continues(files):
            self._read.clear()
            self._known.clear()
        for file in files:
            self._read_on(file)

    def _continues(self, files: list[Path]) -> bool:
        """Whether all that was read is still there; a restored file is another inode."""
        stats = {file.name: file.stat() for file in files}
        return all(
            name in stats and stats[name].st_ino == inode and stats[name].st_size >= offset
            for name, (inode, offset) in self._read.items()
        )

    def _read_on(self, file: Path) -> None:
        with file.open("rb") as lines:
            inode, offset = self._read.get(file.name, (os.fstat(lines.fileno()).st_ino, 0))
            lines.seek(offset)
            new = lines.read()
        whole = new.rfind(b"\n") + 1  # a torn last line was never acknowledged
        for line in new[:whole].splitlines():
            try:
                marker = json.loads(line)
            except ValueError:
                continue
            self._known[marker["id"]] = marker["seq"]
        self._read[file.name] = (inode, offset + whole)

    def _append(self, line: bytes) -> None:
        file = self._folder / f"{datetime.now(UTC):%Y%m%dT%H}.jsonl"
        fresh = not file.exists()
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            os.write(handle, (b"\n" if torn else b"") + line + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
        if fresh:
            _sync_folder(self._folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Files that one process appends to and others read from their end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runbooks.records import Sample
from tasks import lines
from tasks.reserve import Reserve

pytestmark = pytest.mark.slow

START = datetime(2026, 11, 23, 10, tzinfo=UTC)


def _sample(number: int) -> Sample:
    at = START + timedelta(seconds=number)
    return Sample(seq=number, at=at, application="orders", ok=True, status=200, ms=1.5)


def _write(path: Path, count: int) -> None:
    path.write_text("".join(lines.line(_sample(n)) for n in range(count)))


def test_torn_line(tmp_path: Path) -> None:
    """What a kill left half is cut off, so that the next line is whole."""
    path = tmp_path / "samples.jsonl"
    _write(path, 2)
    with path.open("ab") as file:
        file.write(b'{"seq":2,"at":"20')
    assert [s.seq for s in lines.window(path, Sample, since=START)] == [0, 1]
    assert lines.tail(path)[-1]["seq"] == 1
    lines.Log(path).append(_sample(2))
    assert [s.seq for s in lines.window(path, Sample, since=START)] == [0, 1, 2]


def test_only_a_torn_line(tmp_path: Path) -> None:
    """A file without one whole line is an empty one."""
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b'{"seq"')
    assert (lines.window(path, Sample, since=START), lines.tail(path)) == ([], [])
    lines.Log(path).append(_sample(0))
    assert lines.window(path, Sample, since=START) == [_sample(0)]


def test_window(tmp_path: Path) -> None:
    """Both ends are in it, and nothing else, wherever it lies in the file."""
    path = tmp_path / "samples.jsonl"
    _write(path, 5_000)
    for first, last in ((0, 3), (7, 7), (1234, 2345), (4990, 4999)):
        since, until = START + timedelta(seconds=first), START + timedelta(seconds=last)
        assert [s.seq for s in lines.window(path, Sample, since=since, until=until)] == list(range(first, last + 1))
    assert lines.window(path, Sample, since=START + timedelta(days=1)) == []
    assert lines.window(tmp_path / "none", Sample, since=START) == []


def test_window_of_a_long_file(tmp_path: Path) -> None:
    """The last minute of some months is found without reading the months."""
    path = tmp_path / "samples.jsonl"
    _write(path, 200_000)
    began = time.monotonic()
    assert len(lines.window(path, Sample, since=START + timedelta(seconds=199_940))) == 60
    assert time.monotonic() - began < 0.2


def test_lines_out_of_order(tmp_path: Path) -> None:
    """A line that came some seconds late is still found."""
    path = tmp_path / "samples.jsonl"
    numbers = [*range(2_000), 1_997, *range(2_000, 4_000)]
    path.write_text("".join(lines.line(_sample(n)) for n in numbers))
    found = lines.window(path, Sample, since=START + timedelta(seconds=1_997))
    assert [s.seq for s in found].count(1_997) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 128 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb") as file:
        while (room := os.statvfs(disk)).f_bavail:
            os.posix_fallocate(file.fileno(), 0, filler.stat().st_size + room.f_bavail * room.f_bsize)
    return filler


def test_disk_that_is_full_for_a_while(small_disk: Path) -> None:
    """The room that was kept is used first, then memory; with room again nothing is missing, torn or out of order."""
    path = small_disk / "samples.jsonl"
    log = lines.Log(path, Reserve(small_disk, size_bytes=16 * 1024).take())
    log.append(_sample(0))
    filler = fill(small_disk)
    for number in range(1, 400):
        log.append(_sample(number))
    kept = [s.seq for s in lines.window(path, Sample, since=START)]
    assert len(kept) > 100, "the reserve took some"
    assert kept == list(range(len(kept)))
    assert len(kept) < 400
    filler.unlink()
    log.append(_sample(400))
    assert [s.seq for s in lines.window(path, Sample, since=START)] == list(range(401))

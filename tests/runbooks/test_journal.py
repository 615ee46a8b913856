"""The journal is the state of a run: whatever happens to it is either mended or noticed."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from runbooks.errors import Refused
from runbooks.journal import Journal, read


def made(path: Path) -> Journal:
    journal = Journal(path)
    journal.begin_attempt(host="here", pid=1)
    journal.append("event", phase="prepare", step="locks.acquire", text="first")
    journal.append("clock", name="fault", at="2026-11-23T10:00:00.000Z")
    return journal


def test_read_again(tmp_path: Path) -> None:
    """What was appended is read back, whole and in order."""
    journal = made(tmp_path / "journal.jsonl")
    assert read(journal.path) == journal.entries
    assert [e.seq for e in journal.entries] == [1, 2, 3]


def test_killed_at_any_byte_of_a_write(tmp_path: Path) -> None:
    """A torn last line is left out, the next entry continues the chain, and no whole entry is lost."""
    whole = made(tmp_path / "whole.jsonl").path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path = tmp_path / "torn.jsonl"
        path.write_bytes(whole[:cut])
        journal = Journal(path)
        assert len(journal.entries) in {sum(e <= cut for e in ends), sum(e - 1 <= cut for e in ends)}
        journal.append("event", text="after")
        assert read(path) == journal.entries


@pytest.mark.parametrize("field", ["seq", "at", "attempt", "kind", "phase", "step", "data", "prev", "hash"])
def test_altered_entry(tmp_path: Path, field: str) -> None:
    """Whatever is changed in an entry, reading refuses and names the line."""
    path = made(tmp_path / "journal.jsonl").path
    lines = path.read_text().splitlines()
    raw = json.loads(lines[1])
    raw[field] = {"seq": 9, "attempt": 9, "kind": "unknown", "data": {}, "at": "2020-01-01T00:00:00.000Z"}.get(
        field, "x"
    )
    path.write_text("\n".join([lines[0], json.dumps(raw), lines[2]]) + "\n")
    with pytest.raises(Refused, match="line 2 does not continue the chain"):
        read(path)


def test_entry_taken_out(tmp_path: Path) -> None:
    """A missing entry breaks the chain."""
    path = made(tmp_path / "journal.jsonl").path
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[2]]) + "\n")
    with pytest.raises(Refused, match="line 2"):
        read(path)


def test_many_threads(tmp_path: Path) -> None:
    """Entries of several threads form one chain."""
    journal = made(tmp_path / "journal.jsonl")
    threads = [
        threading.Thread(target=lambda n=n: [journal.append("event", text=f"{n} {i}") for i in range(20)])
        for n in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(journal.path)) == 103

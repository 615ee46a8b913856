"""The files that prove what a report says, with their checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path

from runbooks import journal
from runbooks.model import Model

REQUIRED = ("journal.jsonl", "before.json", "backup.json", "after.json", "samples.jsonl")


class EvidenceFile(Model):
    """`sha256` null: the file is missing."""

    name: str
    size_bytes: int | None
    sha256: str | None


class Evidence(Model):
    """The head of the chain stands for every entry of the journal."""

    head: str
    entries: int
    files: tuple[EvidenceFile, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.files if f.sha256 is None)


def of(directory: Path) -> Evidence:
    """Raises: Refused: the journal was altered after it was written."""
    entries = journal.read(directory / "journal.jsonl")
    return Evidence(
        head=entries[-1].hash if entries else journal.GENESIS,
        entries=len(entries),
        files=tuple(_file(directory / name) for name in REQUIRED),
    )


def _file(path: Path) -> EvidenceFile:
    if not path.exists():
        return EvidenceFile(name=path.name, size_bytes=None, sha256=None)
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return EvidenceFile(name=path.name, size_bytes=path.stat().st_size, sha256=checksum)

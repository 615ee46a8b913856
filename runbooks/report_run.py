"""What was recorded of a run: its journal and the samples taken outside, read once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from runbooks import journal, outside
from runbooks import report_parts as parts
from runbooks.errors import Refused
from runbooks.journal import Entry
from runbooks.records import Impact, Mode, Sample
from runbooks.report_schema import Objectives


@dataclass(frozen=True)
class Recorded:
    directory: Path
    entries: list[Entry]
    samples: list[Sample]
    started: datetime
    opened: dict[str, Any]

    @property
    def run_id(self) -> str:
        return self.directory.resolve().name

    @property
    def scenario(self) -> str:
        return str(self.opened["scenario"])

    @property
    def site(self) -> str:
        return str(self.opened["site"])

    @property
    def mode(self) -> Mode:
        return Mode(self.opened["mode"])

    @property
    def impact(self) -> Impact:
        return Impact(self.opened["impact"])

    @property
    def application(self) -> str:
        return str(self.opened["application"])

    @property
    def sustain(self) -> timedelta:
        return timedelta(seconds=self.opened["sustain_seconds"])

    @property
    def objectives(self) -> Objectives:
        return Objectives.model_validate(self.opened["objectives"])

    @property
    def last_instant(self) -> datetime:
        """When the run ended; without an end the last sign of it, or of the world outside."""
        last = parts.last_instant(self.entries)
        if parts.ended(self.entries) is not None or not self.samples:
            return last
        return max(last, self.samples[-1].at)

    def about(self, application: str) -> list[Entry]:
        return parts.about(self.entries, application, self.application)

    def seen_of(self, application: str) -> list[Sample]:
        return [s for s in self.samples if s.application == application]


def read(directory: Path) -> Recorded:
    """Raises: Refused: there is no journal, it was altered, or the run was never opened."""
    path = directory / "journal.jsonl"
    if not path.exists():
        raise Refused(f"{path} does not exist", "is this the directory of a run? dr reports list shows the known ones")
    entries = journal.read(path)
    first = next(iter(parts.of(entries, "opened")), None)
    if first is None:
        raise Refused(f"{path} ends before the run was opened", "it was killed at once and changed nothing: start anew")
    samples = outside.read(directory / "samples.jsonl")
    return Recorded(directory=directory, entries=entries, samples=samples, started=first.at, opened=dict(first.data))

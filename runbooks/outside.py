"""What a client outside saw of an application: spans of green, of red, and of nobody looking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby, pairwise
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from runbooks.errors import Refused
from runbooks.model import Instant, Model
from runbooks.records import Marker, Sample

LONGEST_SILENCE = timedelta(seconds=2.5)
"""The observer asks once a second with a time limit below a second: one answer may be missing, two are a gap."""
_LINE: TypeAdapter[Sample | Marker] = TypeAdapter(Annotated[Sample | Marker, Field(union_mode="left_to_right")])


class Seen(StrEnum):
    GREEN = "green"
    RED = "red"
    GAP = "gap"


class Span(Model):
    """From the first sample that showed it to the first one that showed something else (or to the last one)."""

    seen: Seen
    start: Instant
    end: Instant

    @property
    def length(self) -> timedelta:
        return self.end - self.start


def read(path: Path) -> list[Sample]:
    """The samples of a file, in the order they were asked; a torn last line (killed in mid-write) is left out.

    Raises:
        Refused: another line is neither a sample nor a marker.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    found: list[Sample] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = _LINE.validate_json(line)
        except ValidationError as error:
            if number == len(lines):
                break
            raise Refused(
                f"{path} line {number} is neither a sample nor a marker",
                "the file was altered after it was written; compare it with the observer's own log",
            ) from error
        if isinstance(record, Sample):
            found.append(record)
    return in_order(found)


def in_order(samples: Sequence[Sample]) -> list[Sample]:
    """By the instant they were asked, each once: a resumed run may have copied a part of the window twice."""
    once = {(s.application, s.at, s.seq): s for s in samples}
    return sorted(once.values(), key=lambda s: (s.at, s.seq))


def spans(samples: Sequence[Sample], *, since: datetime | None = None, until: datetime | None = None) -> list[Span]:
    """The samples of one application as spans, from *since* on; silence up to *until* is a gap, too."""
    pieces = list(_pieces(in_order(samples), since, until))
    if since is not None:
        pieces = [(seen, max(start, since), end) for seen, start, end in pieces if end >= since]
    groups = (list(group) for _, group in groupby(pieces, key=lambda piece: piece[0]))
    return [Span(seen=group[0][0], start=group[0][1], end=group[-1][2]) for group in groups]


def _pieces(
    samples: Sequence[Sample], since: datetime | None, until: datetime | None
) -> Iterator[tuple[Seen, datetime, datetime]]:
    if not samples:
        return
    first, last = samples[0], samples[-1]
    if since is not None and first.at - since > LONGEST_SILENCE:
        yield Seen.GAP, since, first.at
    for one, following in pairwise(samples):
        silent = following.at - one.at > LONGEST_SILENCE
        yield _colour(one), one.at, one.at if silent else following.at
        if silent:
            yield Seen.GAP, one.at, following.at
    yield _colour(last), last.at, last.at
    if until is not None and until - last.at > LONGEST_SILENCE:
        yield Seen.GAP, last.at, until


def _colour(sample: Sample) -> Seen:
    return Seen.GREEN if sample.ok else Seen.RED


def gaps(samples: Sequence[Sample], *, since: datetime | None = None, until: datetime | None = None) -> list[Span]:
    return [s for s in spans(samples, since=since, until=until) if s.seen is Seen.GAP]

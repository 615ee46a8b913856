"""What was lost: markers that the application acknowledged, and that it no longer has."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import pairwise, takewhile
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from runbooks.errors import Unavailable
from runbooks.model import Instant, Model
from runbooks.records import Marker
from runbooks.site import Dns, Markers
from tasks import lines
from tasks.clients import http

READ_WITHIN = timedelta(seconds=15)
_IDS: TypeAdapter[dict[str, list[int]]] = TypeAdapter(dict[str, list[int]])


class ReadBack(Model):
    """What the observer found when it asked for the markers from `first` to `last`; `absent` are ranges."""

    at: Instant
    application: str
    store: str
    first: int
    last: int
    absent: tuple[tuple[int, int], ...]

    @property
    def absent_numbers(self) -> set[int]:
        return {n for start, end in self.absent for n in range(start, end + 1)}


class Count(Model):
    """Lost: acknowledged before the fault. Given up: acknowledged at or after it. Null: it cannot be told."""

    rpo_seconds: float | None
    lost: int | None
    given_up: int | None


def present(markers: Markers, dns: Dns, *, after: int) -> set[int]:
    """The numbers above *after* that the application itself still gives. Reads only.

    Raises:
        Unavailable: it does not answer, or not with numbers.
    """
    found: set[int] = set()
    while True:
        url = f"{markers.read}{'&' if '?' in markers.read else '?'}after={after}"
        answer = http.get(url, within=READ_WITHIN, dns=dns)
        page = _numbers(markers, answer) - found
        if not page:
            return found
        found |= page
        after = max(page)  # it may answer in pages; the last one is empty


def _numbers(markers: Markers, answer: http.Answer) -> set[int]:
    hint = 'does the application answer its read-back path with {"ids": [number, …]}?'
    if answer.status != HTTPStatus.OK:
        raise Unavailable(f"markers of {markers.store}: status {answer.status}", hint)
    try:
        return set(_IDS.validate_json(answer.body)["ids"])
    except (ValidationError, KeyError) as error:
        raise Unavailable(f"markers of {markers.store}: the answer is not a list of numbers", hint) from error


def of(directory: Path, application: str, store: str, since: datetime) -> list[Marker]:
    """The acknowledged markers of one store from *since* on, oldest first."""
    found = lines.window(directory / "markers.jsonl", Marker, since=since)
    return sorted((m for m in found if (m.application, m.store) == (application, store)), key=lambda m: (m.at, m.seq))


def lost_before(directory: Path, application: str, store: str, at: datetime) -> set[int]:
    """Numbers known to be lost already before *at*: an earlier disaster's loss is not counted again."""
    read_backs = lines.window(directory / "read-backs.jsonl", ReadBack, since=at - timedelta(days=7), until=at)
    mine = [r for r in read_backs if (r.application, r.store) == (application, store)]
    return mine[-1].absent_numbers if mine else set()


def count(acknowledged: Sequence[Marker], present: set[int], fault: datetime | None) -> Count:
    """The loss of one store: from the fault back to the last marker before the first hole.

    *acknowledged* in the order of their instants. Without markers before the fault nothing is known, which is not 0.
    """
    if fault is None:
        return Count(rpo_seconds=None, lost=sum(m.seq not in present for m in acknowledged), given_up=None)
    earlier = [m for m in acknowledged if m.at < fault]
    lost = [m for m in earlier if m.seq not in present]
    given_up = sum(m.seq not in present for m in acknowledged[len(earlier) :])
    if not lost:
        return Count(rpo_seconds=0.0 if earlier else None, lost=0 if earlier else None, given_up=given_up)
    kept = list(takewhile(lambda m: m.seq in present, earlier))
    rpo = (fault - kept[-1].at).total_seconds() if kept else None
    return Count(rpo_seconds=rpo, lost=len(lost), given_up=given_up)


def ranges(numbers: set[int]) -> tuple[tuple[int, int], ...]:
    """The numbers as closed ranges."""
    ordered = sorted(numbers)
    if not ordered:
        return ()
    starts = [ordered[0], *(b for a, b in pairwise(ordered) if b != a + 1)]
    ends = [*(a for a, b in pairwise(ordered) if b != a + 1), ordered[-1]]
    return tuple(zip(starts, ends, strict=True))

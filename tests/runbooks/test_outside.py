"""Samples as spans: what is read, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbooks import outside
from runbooks.errors import Refused
from runbooks.records import Marker
from tests.runbooks.journals import Evidence, at, samples

SEEN = samples("10:00", "10:00:10", red=[("10:00:04", "10:00:06")])


def shape(found: list[outside.Span]) -> list[tuple[str, str, str]]:
    return [(s.seen.value, f"{s.start:%M:%S}", f"{s.end:%M:%S}") for s in found]


def test_spans() -> None:
    """Each reaches to the first sample that showed something else."""
    expected = [("green", "00:00", "00:04"), ("red", "00:04", "00:06"), ("green", "00:06", "00:10")]
    assert shape(outside.spans(SEEN)) == expected


def test_spans_around_a_gap() -> None:
    """A gap reaches from the last answer to the next one; silence at the end is one, too."""
    seen = samples("10:00", "10:00:10", silent=[("10:00:04", "10:00:08")])
    gaps = outside.gaps(seen, since=at("09:59:50"), until=at("10:00:20"))
    assert shape(gaps) == [("gap", "59:50", "00:00"), ("gap", "00:03", "00:08"), ("gap", "00:10", "00:20")]


def test_samples_copied_twice(tmp_path: Path) -> None:
    """A resumed run copies the window again; each sample counts once, in its order."""
    run = Evidence(tmp_path, "r").seen([*SEEN[5:], *SEEN])
    assert outside.read(run.directory / "samples.jsonl") == SEEN


def test_markers_among_samples(tmp_path: Path) -> None:
    """They are another kind of line of the observer and no samples."""
    path = tmp_path / "samples.jsonl"
    marker = Marker(seq=1, at=at("10:00"), application="orders", store="rows:orders", id="1")
    path.write_text(f"{marker.model_dump_json()}\n{SEEN[0].model_dump_json()}\n")
    assert outside.read(path) == SEEN[:1]


def test_killed_while_writing_a_sample(tmp_path: Path) -> None:
    """The torn last line is left out."""
    path = tmp_path / "samples.jsonl"
    path.write_text(f'{SEEN[0].model_dump_json()}\n{{"seq": 2, "at": "2026-')
    assert outside.read(path) == SEEN[:1]


def test_altered_sample(tmp_path: Path) -> None:
    """A line that is neither a sample nor torn off is not passed over."""
    path = tmp_path / "samples.jsonl"
    path.write_text(f'{{"ok": true}}\n{SEEN[0].model_dump_json()}\n')
    with pytest.raises(Refused, match="line 1 is neither a sample nor a marker\nHINT: the file was altered"):
        outside.read(path)

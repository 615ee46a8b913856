"""Waiting for an entry of a journal that a run in another process writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from runbooks.journal import Entry, read
from tests.zygote import Child

PAUSE_SECONDS = 0.001
"""A run is killed where it is found: the sooner it is looked for, the more instants there are."""
ASK_SECONDS = 0.05


def first_entry(journal: Path, child: Child, is_there: Callable[[Entry], bool], seconds: float) -> Entry:
    """The first entry of that kind; a run that ends before it fails the test."""
    for entries in readings(journal, child, seconds):
        for entry in entries:
            if is_there(entry):
                return entry
    raise AssertionError(f"the run ended without that entry:\n{child.output[-3000:]}")


def readings(journal: Path, child: Child, seconds: float) -> Iterator[list[Entry]]:
    """The journal each time it has grown, and once more when the run has ended."""
    until, size, ask_at = time.monotonic() + seconds, 0, 0.0
    while time.monotonic() < until:
        if time.monotonic() >= ask_at:
            if child.poll() is not None:
                yield read(journal) if journal.exists() else []
                return
            ask_at = time.monotonic() + ASK_SECONDS
        if (now := journal.stat().st_size if journal.exists() else 0) != size:
            size = now
            yield read(journal)
        time.sleep(PAUSE_SECONDS)
    raise AssertionError(f"no such entry within {seconds} s:\n{child.output[-3000:]}")

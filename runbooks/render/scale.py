"""Where an instant stands on the drawing, and in which row its label goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

LETTER = 0.6
"""Width of a letter in parts of the type size; wide enough for DejaVu, the widest of the usual typefaces."""
_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
STEPS = tuple(timedelta(seconds=s) for s in _SECONDS)
MOST_TICKS = 9


def width(text: str, size: float) -> float:
    return len(text) * size * LETTER


@dataclass(frozen=True)
class Scale:
    """Instants from *start* to *end* on the pixels from *left* to *right*."""

    start: datetime
    end: datetime
    left: float
    right: float

    def x(self, at: datetime) -> float:
        """Held inside the drawing."""
        part = (at - self.start) / max(self.end - self.start, timedelta(milliseconds=1))
        return self.left + (self.right - self.left) * min(max(part, 0.0), 1.0)

    def ticks(self) -> list[datetime]:
        """Round instants, few enough to be read."""
        length = self.end - self.start
        days = STEPS[-1] * (1 + length // (STEPS[-1] * MOST_TICKS))
        step = next((s for s in STEPS if length / s <= MOST_TICKS), days)
        midnight = self.start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        first = midnight + step * -(-(self.start - midnight) // step)
        count = max(0, (self.end - first) // step) + 1
        return [first + step * n for n in range(count) if first + step * n <= self.end]


@dataclass(frozen=True)
class Label:
    """Text that begins at its instant's line; row 0 is the one nearest to the drawing."""

    text: str
    x: float
    kind: str
    row: int = 0


def stacked(labels: Sequence[Label], size: float, gap: float = 14) -> list[Label]:
    """No text on another text, and no line through a text.

    From right to left: a text that reaches over a later label's line stands in a row above it.
    """
    placed: list[Label] = []
    for label in sorted(labels, key=lambda one: one.x, reverse=True):
        reach = label.x + width(label.text, size) + gap
        under = [one.row for one in placed if one.x < reach]
        placed.append(Label(label.text, label.x, label.kind, max(under, default=-1) + 1))
    return placed[::-1]

"""What a comparison found."""

from __future__ import annotations

from pydantic import Field

from runbooks.model import Model
from runbooks.records import Difference

PRESENT, MISSING, ABSENT = "present", "missing", "absent"


class Ignored(Model):
    """What did differ and was let pass, and why: one for each reason."""

    reason: str
    times: int
    example: str


class Comparison(Model):
    """Green means: no differences, and something was compared."""

    differences: tuple[Difference, ...]
    weakly_checked: tuple[str, ...]
    compared: int
    ignored: tuple[Ignored, ...] = Field(default=(), description="proof that 0 differences was not bought by ignoring")


class Tally:
    """Counts what was ignored, by reason, so that 3,000 resource versions are one line."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, reason: str, where: str) -> None:
        times, example = self._found.get(reason, (0, where))
        self._found[reason] = (times + 1, example)

    def ignored(self) -> tuple[Ignored, ...]:
        return tuple(Ignored(reason=r, times=n, example=e) for r, (n, e) in sorted(self._found.items()))


def some(names: list[str], shown: int = 3) -> str:
    """The first few of *names*, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more

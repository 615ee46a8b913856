"""How the runs of a scenario end: the net of a drill, and what is put away. Each flow says its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runbooks.records import Ended
from tasks.cases import Case

Steps = Iterator[tuple[str, Callable[[], object]]]
"""Name and act of each step, in order; each is tried, whatever became of the one before."""


@dataclass(frozen=True)
class Ending:
    """`net` brings a drill's target back when plan A failed, and is told why; None: the plan is its own net."""

    steps: Callable[[Case, Ended, BaseException | None], Steps]
    net: Callable[[Case, str], None] | None = None

"""What every part of the lab can do: start, prove that it works, stop."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from deployments.lab.lab import Lab

T = TypeVar("T")


class LabError(Exception):
    """The lab cannot do what was asked: the fact with its values, and what to do about it."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}\nHINT: {self.hint}"


class EndedError(LabError):
    """The process that would have answered is gone: waiting on is of no use."""


@dataclass(frozen=True)
class Proof:
    """What `dr lab status` shows for one component; *proof* says what was really done, and how long it took."""

    component: str
    region: str | None
    address: str
    pid: int | None
    memory_bytes: int | None
    proof: str


class Component(Protocol):
    """One part of the lab. A part of a region is made with its region: `Postgres(region)`."""

    @property
    def name(self) -> str:
        """Unique in the lab: `postgres-a`; also the name of its process record, if it has just one."""

    def start(self, lab: Lab) -> None:
        """Working when this returns. Idempotent: repairs what died, leaves what lives."""

    def prove(self, lab: Lab) -> Proof:
        """Use it as its clients do. Raises: LabError."""

    def environment(self, lab: Lab) -> dict[str, str]:
        """Its lines of `dr lab env`, such as `PGURI_A`; called only while it is up."""

    def stop(self, lab: Lab) -> None:
        """Gone when this returns, also when it was half started or never."""


def wait_for(look: Callable[[], T | None], *, what: str, seconds: float, hint: str) -> T:
    """Return the first answer that is not None; *look* may raise LabError to say what it saw instead.

    Raises: LabError when the time is up, ending with what was seen last; EndedError at once."""
    deadline = monotonic() + seconds
    seen = "no answer"
    while True:
        try:
            answer = look()
        except EndedError:
            raise
        except LabError as error:
            answer, seen = None, error.problem
        if answer is not None:
            return answer
        if monotonic() >= deadline:
            raise LabError(f"{what}: not within {seconds:g} s; last seen: {seen}", hint)
        sleep(0.05)

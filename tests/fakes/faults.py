"""What goes wrong with a request: a status instead of an answer, a hang, a closed connection, a delay."""

from __future__ import annotations

import itertools
import re
import threading
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tests.fakes.recording import Exchange

Act = Literal["status", "hang", "close", "delay"]


@dataclass
class Fault:
    """Hits requests of *server* whose method and URL match; the first *skip* pass, then *times* are hit (None: all).

    after_work: the work is done and recorded, and only the answer is held, lost or replaced. A hang ends with
    `release` or after *seconds*, and the request then goes on as if nothing had been.
    """

    act: Act
    method: str = ".*"
    path: str = ".*"
    server: str = "kubernetes"
    user: str = ".*"
    times: int | None = 1
    skip: int = 0
    status: int = 503
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float | None = None
    after_work: bool = False
    id: int = 0
    hits: int = 0
    held: int = 0
    released: bool = False

    def fits(self, one: Exchange) -> bool:
        return (
            self.server == one.server
            and re.fullmatch(self.method, one.method) is not None
            and re.search(self.path, one.url) is not None
            and re.fullmatch(self.user, one.user) is not None
        )


class Faults:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._all: list[Fault] = []
        self._ids = itertools.count(1)

    def add(self, wanted: dict[str, Any]) -> int:
        with self._changed:
            fault = Fault(**wanted, id=next(self._ids))
            self._all.append(fault)
            return fault.id

    def hit(self, one: Exchange) -> Fault | None:
        """The fault that this request runs into, counted."""
        with self._changed:
            for fault in self._all:
                if fault.released or not fault.fits(one):
                    continue
                if fault.skip:
                    fault.skip -= 1
                elif fault.times is None or fault.hits < fault.times:
                    fault.hits += 1
                    self._changed.notify_all()
                    return fault
            return None

    def hold(self, fault: Fault) -> None:
        with self._changed:
            fault.held += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: fault.released, timeout=fault.seconds)
            fault.held -= 1
            self._changed.notify_all()

    def release(self, wanted: int | None) -> None:
        """End one fault, or all of them; what they hold goes on."""
        with self._changed:
            for fault in self._all:
                fault.released = fault.released or wanted in (None, fault.id)
            self._changed.notify_all()

    def wait_until_held(self, wanted: int, seconds: float) -> bool:
        with self._changed:
            fault = next(one for one in self._all if one.id == wanted)
            return self._changed.wait_for(lambda: fault.held > 0, timeout=seconds)

    def listed(self) -> list[dict[str, Any]]:
        with self._changed:
            return [asdict(fault) for fault in self._all]

"""Waits: look at least once a second, never longer than allowed, and say what was seen last."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from runbooks.errors import RecoveryError
from runbooks.model import spell

T = TypeVar("T")
PAUSE_SECONDS = 0.25


@dataclass(frozen=True)
class NotYet:
    """What was seen instead, such as "2 of 3 pods: ImagePullBackOff"."""

    seen: str


def wait_until(
    look: Callable[[], T | NotYet],
    *,
    within: timedelta,
    what: str,
    otherwise: type[RecoveryError],
    hint: str,
    pause_seconds: float = PAUSE_SECONDS,
) -> T:
    """Return the first answer that is not `NotYet` (0, [] and False are answers); never oversleep *within*.

    Raises: *otherwise*, with what was waited for and what was seen last.
    """
    end = time.monotonic() + within.total_seconds()
    while True:
        answer = look()
        if not isinstance(answer, NotYet):
            return answer
        left = end - time.monotonic()
        if left <= 0:
            raise otherwise(f"{what}: not within {spell(within)}; last seen: {answer.seen}", hint)
        time.sleep(min(pause_seconds, left))

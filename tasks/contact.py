"""The way to an API server during a run: it may be away for a while, and the run goes on when it is back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from runbooks.errors import Unavailable
from runbooks.model import spell

WITHIN = timedelta(minutes=2)
"""It is waited for so long at least, also where a phase has no time left: the net of a drill needs it, too."""
TOLD_AFTER_SECONDS = 2.0


class Contact:
    """Knows since when it has been silent, over all connections of the run; tells so, and when it is over."""

    def __init__(self, who: str, patience: Callable[[], timedelta], tell: Callable[[str], None]) -> None:
        self._who, self._patience, self._tell = who, patience, tell
        self._lock = threading.Lock()
        self._since: float | None = None
        self._is_told = False

    def failed(self, error: Unavailable, for_seconds: float) -> float:
        """One outage is waited for once: what is asked later in it has no more time than the first question."""
        with self._lock:
            if self._since is None:
                self._since = time.monotonic() - for_seconds
            away = time.monotonic() - self._since
            left = max(WITHIN.total_seconds() - away, self._patience().total_seconds())
            is_news = not self._is_told and away >= TOLD_AFTER_SECONDS
            self._is_told = self._is_told or is_news
        if is_news:
            self._tell(f"{self._who} does not answer, and is asked again for {left:.0f} s: {error.problem}")
        return min(left, max(WITHIN.total_seconds() - for_seconds, self._patience().total_seconds()))

    def answered(self) -> None:
        if self._since is None:
            return
        with self._lock:
            since, is_told = self._since, self._is_told
            self._since, self._is_told = None, False
        if is_told and since is not None:
            self._tell(f"{self._who} answers again, after {spell(timedelta(seconds=time.monotonic() - since))}")

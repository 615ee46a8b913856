"""The clock of the fake cluster: API server, Velero and nodes share it, and it may be wrong."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_ahead = timedelta()


def set_ahead(seconds: float) -> None:
    global _ahead
    _ahead = timedelta(seconds=seconds)


def now() -> datetime:
    return datetime.now(UTC) + _ahead


def seconds() -> float:
    return time.time() + _ahead.total_seconds()


def stamp(at: datetime) -> str:
    """Kubernetes' own: whole seconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")

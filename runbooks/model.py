"""The base of every model: frozen, and strict about unknown names."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, JsonValue, PlainSerializer

Json = JsonValue
Instant = AwareDatetime


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)")


def duration(text: Any) -> Any:
    """The timedelta written as "30 s", "30min", "2h" or "1 d"; anything else is left for pydantic to judge."""
    if isinstance(text, str) and (found := _DURATION.fullmatch(text.strip())):
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    return text


def spell(span: timedelta) -> str:
    """The shortest exact spelling that `duration` reads back."""
    seconds = span.total_seconds()
    for unit in ("d", "h", "min"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:g} {unit}"
    return f"{seconds:g} s"


Duration = Annotated[timedelta, BeforeValidator(duration), PlainSerializer(spell, return_type=str)]


def now() -> datetime:
    return datetime.now(UTC)


def rfc3339(at: datetime) -> str:
    """UTC with milliseconds, such as 2026-11-23T10:00:00.000Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

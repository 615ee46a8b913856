"""What a person may say of a wrong database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from runbooks.database_ways import Options, Way, postgres_time


def test_two_targets() -> None:
    """Nobody knows which one is meant."""
    with pytest.raises(ValidationError, match="target_xid and restore_point are two targets"):
        Options(target_xid=812, restore_point="before-migration")


def test_time_in_another_zone() -> None:
    """PostgreSQL would take one without a zone as local time, and refuses the T between date and time."""
    at = datetime(2026, 11, 23, 10, 46, 2, 712000, tzinfo=timezone(timedelta(hours=1)))
    assert postgres_time(at) == "2026-11-23 09:46:02.712000+00"
    assert postgres_time(at.astimezone(UTC)) == postgres_time(at)


def test_table_without_a_name() -> None:
    """It is not guessed."""
    with pytest.raises(ValidationError, match="needs table=NAME"):
        Options(way=Way.TABLE)

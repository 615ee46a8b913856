"""The ways to bring a database back, what a drill may do to it, and what a person says of both."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from enum import StrEnum
from typing import Self

from pydantic import Field, ValidationError, model_validator

from runbooks.errors import Refused
from runbooks.model import Instant, Json, Model

SCENARIO = "database-corruption"


class Way(StrEnum):
    """How it is brought back; the diagnosis chooses, unless a person does."""

    DELTA = "delta"
    """Some pages are corrupt: the files that differ from the backup are restored in place, then all WAL."""
    FULL = "full"
    """The data directory is lost or badly damaged: all of it anew, then all WAL."""
    POINT_IN_TIME = "point-in-time"
    """The data is wrong: all of it anew, then the WAL up to just before the wrong transaction."""
    TABLE = "table"
    """One table is wrong: what one transaction did to it is undone, by a copy beside; the service stays up."""
    PROMOTE = "promote"
    """The primary is damaged, and a standby is healthy: it takes over, the old one is made anew behind it."""


class Damage(StrEnum):
    """What a drill does. The first one loses nothing even when all goes wrong: the standby and the archive have it."""

    PAGES = "pages"
    TORN_PAGE = "torn-page"
    DATA_DIRECTORY = "data-directory"
    WAL = "pg-wal"
    WRONG_DELETE = "wrong-delete"


WAYS = {
    Damage.PAGES: (Way.DELTA, Way.FULL, Way.PROMOTE),
    Damage.TORN_PAGE: (Way.DELTA, Way.FULL, Way.PROMOTE),
    Damage.DATA_DIRECTORY: (Way.FULL, Way.PROMOTE),
    Damage.WAL: (Way.FULL, Way.DELTA, Way.PROMOTE),
    Damage.WRONG_DELETE: (Way.POINT_IN_TIME, Way.TABLE),
}
"""Which ways lead back from a drill's damage; the first one is what the diagnosis is going to choose."""


class Options(Model):
    """The parameters that only `database-corruption` has. At most one target."""

    way: Way | None = None
    damage: Damage = Damage.PAGES
    table: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_$.]*$")
    target_time: Instant | None = None
    target_xid: int | None = Field(default=None, gt=2)
    target_lsn: str | None = Field(default=None, pattern=r"^[0-9A-F]{1,8}/[0-9A-F]{1,8}$")
    restore_point: str | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        given = [
            n for n in ("target_time", "target_xid", "target_lsn", "restore_point") if getattr(self, n) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are two targets; give the one that you are sure of")
        if self.way is Way.TABLE and self.table is None:
            raise ValueError("way=table needs table=NAME")
        return self


def parsed(scenario: str, given: Mapping[str, Json]) -> Options:
    """Raises: Refused: another scenario has none of these; one of them is not what it should be."""
    if given and scenario != SCENARIO:
        raise Refused(f"the page of {scenario} has no {', '.join(given)}", f"only that of {SCENARIO} has")
    try:
        return Options.model_validate(dict(given))
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'together'}: {e['msg']}" for e in error.errors())
        raise Refused(f"wrong parameters: {told}", f"there are: {', '.join(Options.model_fields)}") from error


class Target(Model):
    """Where recovery stops: just before this; none at all: at the end of the WAL."""

    kind: str | None = None
    value: str | None = None
    at: Instant | None = None
    """When that was, as far as it is known: a backup must have ended before."""
    told: str | None = None
    """How the transaction was found."""
    committed_at: Instant | None = None
    """When it did; null: nobody knows."""


OPTION_OF = {"xid": "target_xid", "time": "target_time", "lsn": "target_lsn", "name": "restore_point"}


def as_chosen(plan: dict[str, Json]) -> dict[str, Json | None]:
    """The options that stand for a plan: its way and its target, and no other."""
    target = Target.model_validate(plan["target"])
    found: dict[str, Json | None] = {"way": plan["way"], "table": plan["table"], **dict.fromkeys(OPTION_OF.values())}
    if target.kind is not None:
        at = None if target.at is None else target.at.isoformat()
        value: Json = at if target.kind == "time" else target.value
        found[OPTION_OF[target.kind]] = int(str(value)) if target.kind == "xid" else value
    return found


class Option(Model):
    """One way, as the plan shows it."""

    way: Way
    eta_seconds: float | None
    is_possible: bool
    why: str
    loses: str = "nothing"


def postgres_time(at: Instant) -> str:
    """As pgBackRest and PostgreSQL take it: with a zone, since without one it is local time; and with a space: T is
    refused."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")

"""pgBackRest's backup sets of a stanza, and which of them may be restored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from runbooks.errors import Refused, Unavailable
from runbooks.model import Instant, Json, Model, now, rfc3339
from tasks.database_server import Postgres

_INFO: TypeAdapter[list[dict[str, Any]]] = TypeAdapter(list[dict[str, Any]])
OK = 0


class BackupSet(Model):
    """One backup; instants are the database's own stamps."""

    label: str
    kind: str
    started_at: Instant
    stopped_at: Instant
    size_bytes: int
    has_errors: bool
    """It was taken over corrupt pages: pgBackRest exits 0 all the same."""
    run: str | None
    """The run of ours that took it."""

    def summary(self) -> dict[str, Json]:
        age = (now() - self.stopped_at).total_seconds()
        return {
            "kind": "pgbackrest", "name": self.label, "completed_at": rfc3339(self.stopped_at), "age_seconds": age,
        }  # fmt: skip


class Repository(Model):
    system_identifier: str
    sets: tuple[BackupSet, ...]
    newest_wal: str | None


def read(postgres: Postgres) -> Repository:
    """What the repository holds of the present system.

    Raises:
        Refused: no such stanza, no backup, or it is of another system.
        Unavailable: the repository does not answer.
    """
    done = postgres.pgbackrest("info", "--output=json")
    try:
        [info] = _INFO.validate_json(done.must_succeed("see pgbackrest info").stdout)
    except (ValidationError, ValueError) as error:
        raise Unavailable("pgbackrest info did not answer with one stanza", "is the repository there?") from error
    if info["status"]["code"] != OK:
        told = "; ".join(r["status"]["message"] for r in info.get("repo", [])) or info["status"]["message"]
        raise Refused(f"stanza {postgres.stanza}: {told}", "see pgbackrest info, and check")
    return _repository(info, postgres)


def _repository(info: dict[str, Any], postgres: Postgres) -> Repository:
    newest = max(info["db"], key=lambda one: one["id"])
    pinned = postgres.database.system_identifier
    if str(newest["system-id"]) != pinned:
        raise Refused(
            f"stanza {postgres.stanza} is of system {newest['system-id']}, the site file pins {pinned}",
            "is it the right repository? another server may have been given this stanza",
        )
    sets = tuple(_set(one) for one in info["backup"] if one["database"]["id"] == newest["id"])
    archives = [one["max"] for one in info["archive"] if one["database"]["id"] == newest["id"] and one["max"]]
    return Repository(system_identifier=str(pinned), sets=sets, newest_wal=max(archives, default=None))


def _set(raw: dict[str, Any]) -> BackupSet:
    return BackupSet(
        label=raw["label"],
        kind=raw["type"],
        started_at=datetime.fromtimestamp(raw["timestamp"]["start"], UTC),
        stopped_at=datetime.fromtimestamp(raw["timestamp"]["stop"], UTC),
        size_bytes=raw["info"]["size"],
        has_errors=bool(raw.get("error")),
        run=(raw.get("annotation") or {}).get("dr-run"),
    )


def choose(repository: Repository, *, before: Instant | None, named: str | None) -> BackupSet:
    """The newest set without errors that had ended before; the one of that name, if a person names one.

    pgBackRest itself takes a set that is newer than the target, and recovers past it without a word.

    Raises:
        Refused: there is none.
    """
    usable = [s for s in repository.sets if not s.has_errors and (before is None or s.stopped_at <= before)]
    if named is not None:
        usable = [s for s in usable if s.label == named]
    if not usable:
        held = ", ".join(f"{s.label} (ended {rfc3339(s.stopped_at)})" for s in repository.sets) or "none"
        told = f" that ended before {rfc3339(before)}" if before else ""
        raise Refused(
            f"no usable backup set{f' {named}' if named else ''}{told}; the repository holds: {held}",
            "a set with errors, or one that is newer than the target, cannot bring it back",
        )
    return max(usable, key=lambda s: s.stopped_at)

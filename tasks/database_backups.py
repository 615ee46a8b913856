"""pgBackRest's backup sets of a stanza, and which of them may be restored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from runbooks.errors import Refused, Unavailable
from runbooks.model import Instant, Json, Model, now, rfc3339
from tasks import pgbackrest
from tasks.database_server import Postgres

_INFO: TypeAdapter[list[dict[str, Any]]] = TypeAdapter(list[dict[str, Any]])
OK = 0
ROUNDED = timedelta(seconds=1)
"""`info` leaves fractions of a second out: a set may have ended almost a second later than it says."""


class BackupSet(Model):
    """One backup; instants are the database's own stamps."""

    label: str
    kind: str
    started_at: Instant
    stopped_at: Instant
    size_bytes: int
    wal_start: str
    wal_stop: str
    stop_lsn: str
    has_errors: bool
    """It, or a set that it builds on, was taken over corrupt pages: pgBackRest exits 0 all the same, and says nothing
    of the next incremental one."""
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
    archive: str | None
    """The archive of the present system, such as 15-1."""
    is_locked: bool
    """A backup is at work."""

    @property
    def usable(self) -> tuple[BackupSet, ...]:
        return tuple(one for one in self.sets if not one.has_errors)


def read(postgres: Postgres) -> Repository:
    """What the repository holds of the present system.

    Raises:
        Refused: no such stanza, no backup, or it is of another system.
        Unavailable: the repository does not answer.
    """
    info = ask(postgres)
    if info["status"]["code"] != OK:
        raise Refused(f"stanza {postgres.stanza}: {_told(info)}", "see pgbackrest info, and check")
    return _repository(info, postgres)


def ask(postgres: Postgres, *options: str) -> dict[str, Any]:
    """What `info` says of the stanza, or of the one set that *options* name. A stanza or backups that are missing are
    told by its `status.code`.

    Raises:
        Unavailable: the repository does not answer, or only in part; Refused: it does not let us in.
        Damaged: a file of it that is needed cannot be read.
    """
    done = pgbackrest.run(postgres, pgbackrest.SOON, "--output=json", *options, "info")
    try:
        [info] = _INFO.validate_json(done.stdout)
    except (ValidationError, ValueError) as error:
        raise Unavailable("pgbackrest info did not answer with one stanza", "is the repository there?") from error
    if info["status"]["code"] not in (OK, pgbackrest.NO_STANZA, pgbackrest.NO_BACKUP):
        said = f"ProtocolError: status {info['status']['code']}: {_told(info)}"
        raise pgbackrest.failed(postgres.stanza, "info", 0, "says that not all is well", said.encode())
    return info


def _told(info: dict[str, Any]) -> str:
    return "; ".join(r["status"]["message"] for r in info.get("repo", [])) or str(info["status"]["message"])


def _repository(info: dict[str, Any], postgres: Postgres) -> Repository:
    newest = max(info["db"], key=lambda one: one["id"])
    pinned = postgres.database.system_identifier
    if str(newest["system-id"]) != pinned:
        raise Refused(
            f"stanza {postgres.stanza} is of system {newest['system-id']}, the site file pins {pinned}",
            "is it the right repository? another server may have been given this stanza",
        )
    bad = {one["label"] for one in info["backup"] if one.get("error")}
    sets = tuple(_set(one, bad) for one in info["backup"] if one["database"]["id"] == newest["id"])
    archives = [one for one in info["archive"] if one["database"]["id"] == newest["id"]]
    return Repository(
        system_identifier=str(pinned),
        sets=sets,
        newest_wal=max((one["max"] for one in archives if one["max"]), default=None),
        archive=archives[-1]["id"] if archives else None,
        is_locked=bool(info["status"].get("lock", {}).get("backup", {}).get("held")),
    )


def _set(raw: dict[str, Any], bad: set[str]) -> BackupSet:
    return BackupSet(
        label=raw["label"],
        kind=raw["type"],
        started_at=datetime.fromtimestamp(raw["timestamp"]["start"], UTC),
        stopped_at=datetime.fromtimestamp(raw["timestamp"]["stop"], UTC),
        size_bytes=raw["info"]["size"],
        wal_start=raw["archive"]["start"],
        wal_stop=raw["archive"]["stop"],
        stop_lsn=raw["lsn"]["stop"],
        has_errors=bool({raw["label"], *(raw.get("reference") or ())} & bad),
        run=(raw.get("annotation") or {}).get("dr-run"),
    )


def choose(repository: Repository, *, before: Instant | None, named: str | None) -> BackupSet:
    """The newest set without errors that had ended before; the one of that name, if a person names one.

    pgBackRest itself takes a set that is newer than the target, and recovers past it without a word.

    Raises:
        Refused: there is none.
    """
    usable = [s for s in repository.sets if not s.has_errors and (before is None or s.stopped_at + ROUNDED <= before)]
    if named is not None:
        usable = [s for s in usable if s.label == named]
    if not usable:
        held = ", ".join(f"{s.label} (ended {rfc3339(s.stopped_at)})" for s in repository.sets) or "none"
        told = f" that ended before {rfc3339(before)}" if before else ""
        raise Refused(
            f"no usable backup set{f' {named}' if named else ''}{told}; the repository holds: {held}",
            "a set with errors, or newer than the target, or of a timeline that was left, cannot bring it back",
        )
    return max(usable, key=lambda s: s.stopped_at)

"""Hosts that are reached by SSH, and what runs on them: database servers, their backups and the test of these."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

from runbooks.model import Duration, Model

There = Annotated[str, Field(pattern=r"^/")]
"""A path on another host, never one of ours."""
Command = Annotated[tuple[str, ...], Field(min_length=1)]
"""Program and arguments; no shell reads them."""


def _schedule(cron: str) -> str:
    try:
        CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"is no schedule of cron: {error}") from error
    return cron


Cron = Annotated[str, Field(pattern=r"^(\S+ ){4}\S+$"), AfterValidator(_schedule)]


class Host(Model):
    """Who answers there is proven by its key, as pinned here; who we are by the SSH agent, or by a key file."""

    name: str
    address: str
    port: int = 22
    user: str = Field(description="who logs in")
    key_file: Path | None = Field(default=None, description="private key; left out: the SSH agent")
    host_key: str | None = Field(default=None, pattern=r"^(ssh|ecdsa)-\S+ [A-Za-z0-9+/=]+$")
    jump: str | None = Field(default=None, description="another host of the site, through which this one is reached")
    become: Literal["sudo", "setpriv"] | None = Field(
        default=None, description="how another user's commands are run: sudo -n, or setpriv for one who is root"
    )


class Server(Model):
    """The PostgreSQL server behind a database. Its commands are run by `user`, who owns its files."""

    host: str = Field(description="one of [[hosts]]")
    user: str = "postgres"
    data: There
    programs: There = Field(description="the folder of pg_ctl, psql, pg_amcheck")
    socket: There = "/var/run/postgresql"
    port: int = 5432
    start: Command
    stop: Command
    log: There | None = Field(default=None, description="where PostgreSQL's messages go: its last words are told")
    config: There | None = Field(
        default=None, description="pgBackRest's configuration on this host; left out: that of [databases.backups]"
    )
    address: str | None = Field(
        default=None, description="what the database's DNS record points to while this server is the primary"
    )
    lead: Command | None = Field(
        default=None, description="leads clients here, where no DNS record does: a virtual address, a pooler"
    )
    follows: str | None = Field(
        default=None,
        description="how a standby here presents itself to its primary: conninfo without host and port, no password",
    )
    service_user: str | None = Field(default=None, description="who runs start and stop; left out: `user`")


class BackupKind(StrEnum):
    """Of a database's backup, as the site file's keys name them."""

    FULL = "full"
    DIFFERENTIAL = "differential"
    INCREMENTAL = "incremental"

    @property
    def option(self) -> str:
        return {"full": "full", "differential": "diff", "incremental": "incr"}[self]

    @property
    def enough(self) -> tuple[str, ...]:
        """pgBackRest's names of this kind and of larger ones."""
        names = ("full", "diff", "incr")
        return names[: names.index(self.option) + 1]


class Backups(Model):
    """pgBackRest's repository of a stanza, and when what is written into it. Times are cron in UTC."""

    config: There = "/etc/pgbackrest/pgbackrest.conf"
    program: str = "pgbackrest"
    full: Cron = "0 2 * * *"
    differential: Cron | None = None
    incremental: Cron | None = "0 * * * *"
    retention_full: int = Field(default=7, ge=1, description="how many full backups are kept, with all that needs them")
    retention_diff: int | None = Field(default=None, ge=1)
    archive_within: Duration = Field(default=timedelta(minutes=5), description="how old the oldest unsent WAL may be")
    within: Duration = Field(default=timedelta(hours=6), description="how long one backup may take")


class Question(Model):
    """SQL that gives one value, and the value. Text is compared; without `answer` any value but NULL will do."""

    name: str
    sql: str
    answer: str | None = None


class RestoreTest(Model):
    """Where the newest backup is restored to, and what is asked of the copy."""

    cron: Cron = "30 4 * * *"
    folder: There = Field(description="emptied by each test; needs room for the whole database")
    host: str | None = Field(default=None, description="left out: the server's own")
    port: int = 5433
    questions: tuple[Question, ...] = ()
    read_all: Literal["daily", "weekly"] = Field(
        default="daily", description="how often every file of the repository is read, too, old sets and WAL included"
    )
    newest: str | None = Field(default=None, description="SQL that gives the time of the newest marker in the copy")
    within: Duration = timedelta(hours=4)

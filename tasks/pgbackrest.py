"""pgBackRest on a database's host, always as the user who owns the database and with its configuration named.

One backup that runs as root leaves files that the archiver cannot write; a configuration that is not named is missing
in the restore_command that pgBackRest writes.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Literal

from runbooks import database_backups
from runbooks.database_backups import NO_BACKUP, NO_STANZA, BackupSet, Repository, Timeline
from runbooks.errors import NotRecovered, RecoveryError, Refused, Unavailable
from runbooks.hosts import Backups, Server
from runbooks.site import Database
from tasks.clients.ssh import Done, Shell
from tasks.clients.ssh_following import OnLine

Kind = Literal["full", "diff", "incr"]
ASKING = timedelta(minutes=2)
LOCKED, STOPPED, MISSING = 50, 62, 55
UNREACHABLE = (39, 49, 95, 102)
"""Of pgBackRest's exit codes: file-read, host-connect, service, and what else a repository that is away gives."""


class Stanza:
    """The stanza of a database, asked on its server's host."""

    def __init__(self, database: Database, shell: Shell) -> None:
        if database.server is None or database.backups is None or database.stanza is None:
            raise Refused(
                f"database {database.name} has no server, stanza or backups in the site file",
                "name [databases.server] and [databases.backups]",
            )
        self.database, self.shell = database, shell
        self.server: Server = database.server
        self.backups: Backups = database.backups
        self.name: str = database.stanza

    def command(self, *arguments: str) -> list[str]:
        return [self.backups.program, f"--config={self.backups.config}", f"--stanza={self.name}", *arguments]

    def run(self, *arguments: str, within: timedelta = ASKING, on_line: OnLine | None = None) -> Done:
        """One command, at its end.

        Raises:
            Unavailable: another one holds the lock, or the repository does not answer.
            Refused: it was told to stop, or the stanza is not in the repository.
            NotRecovered: it failed otherwise.
        """
        done = self.shell.run(self.command(*arguments), user=self.server.user, within=within, on_line=on_line)
        if done.exit_code != 0:
            raise _told(self, arguments[-1], done)
        return done

    def info(self) -> Repository:
        """What the repository holds. Reads only. Raises: as `run`; Unavailable also for one that cannot be read."""
        found = database_backups.parsed(json.loads(self.run("--output=json", "info").stdout))
        if found.status not in (0, NO_STANZA, NO_BACKUP):
            raise Unavailable(
                f"repository of stanza {self.name}: {found.message} (status {found.status})",
                "does the bucket answer, are its keys right, and is it this database's repository?",
            )
        return found

    def create(self) -> None:
        """The stanza is there; nothing changes when it was. Raises: as `run`."""
        self.run("stanza-create")

    def check(self) -> None:
        """A WAL segment that was just made has come to the repository. Raises: as `run`."""
        self.run("check", within=timedelta(minutes=5))

    def back_up(self, kind: Kind, *, on_line: OnLine | None = None) -> BackupSet:
        """A new backup of this kind, and those removed that the site no longer keeps.

        Raises:
            NotRecovered: pages with wrong checksums went into it, though pgBackRest says nothing of it; or as `run`.
        """
        before = {one.label for one in self.info().backups}
        self.run(*self._retention(), f"--type={kind}", "backup", within=self.backups.within, on_line=on_line)
        made = [one for one in self.info().backups if one.label not in before]
        if not made:
            raise NotRecovered(f"pgBackRest made no new backup of {self.name}", "see its log on that host")
        if made[-1].damaged:
            raise NotRecovered(
                f"backup {made[-1].label} of {self.name} holds pages with wrong checksums, or builds on one that does",
                "the database is corrupt: run pg_amcheck, then the runbook database-corruption",
            )
        return made[-1]

    def _retention(self) -> list[str]:
        kept = [f"--repo1-retention-full={self.backups.retention_full}"]
        return [*kept, *([f"--repo1-retention-diff={diff}"] if (diff := self.backups.retention_diff) else [])]

    def missing_wal(self, repository: Repository) -> list[str]:
        """The segments between the oldest usable backup and the newest archived one that are not in the repository.

        pgBackRest's own `verify` of 2.45 does not see them. Raises: as `run`; Refused: there is no usable backup.
        """
        oldest = self.newest(repository, oldest=True)
        folder = f"archive/{self.name}/{repository.archive}"
        listed = json.loads(self.run("--recurse", "--output=json", "repo-ls", folder).stdout)
        histories = [name for name in listed if database_backups.HISTORY.match(name)]
        lines = [self._timeline(folder, name) for name in histories]
        newest = self.newest(repository)
        known = [one for one in lines if one is not None]
        return database_backups.gaps(listed, known, oldest.wal_start, newest.wal_stop)

    def _timeline(self, folder: str, name: str) -> Timeline | None:
        return database_backups.timeline(name, self.run("repo-get", f"{folder}/{name}").text)

    def newest(self, repository: Repository, *, oldest: bool = False) -> BackupSet:
        """The newest backup that can be restored, or the oldest. Raises: Refused: there is none."""
        if not repository.usable:
            raise Refused(
                f"stanza {self.name} has no usable backup: {len(repository.backups)} are there, {repository.message}",
                "make a full one: pgbackrest --type=full backup",
            )
        return repository.usable[0 if oldest else -1]


def _told(stanza: Stanza, what: str, done: Done) -> RecoveryError:
    problem = f"pgbackrest {what} of stanza {stanza.name} {done.how}: {done.said}"
    match done.exit_code:
        case code if code == LOCKED:
            return Unavailable(problem, "another backup or archive command is at work; ask again when it is done")
        case code if code == STOPPED:
            return Refused(problem, f"somebody stopped it; when all is well: pgbackrest --stanza={stanza.name} start")
        case code if code == MISSING:
            return Refused(problem, "is the stanza in that repository? make it: pgbackrest stanza-create")
        case code if code in UNREACHABLE:
            return Unavailable(problem, "does the repository answer, and are its keys right?")
    return NotRecovered(problem, "see pgBackRest's log on that host")

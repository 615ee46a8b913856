"""A PostgreSQL server on its host, through SSH, by the hands of the user that owns it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from runbooks import database_values
from runbooks.errors import Refused, Unavailable
from runbooks.hosts import Backups, Server
from runbooks.records import RunKind
from runbooks.site import Database, Site
from tasks import hosts
from tasks.cases import Case
from tasks.clients.ssh import Done, Shell
from tasks.clients.ssh_following import OnLine

SOON = timedelta(seconds=30)
READ_WITHIN = timedelta(hours=1)
BETWEEN = "\x1f"
NOT_CONNECTED = 2
PSQL = (
    "--no-psqlrc",
    "--quiet",
    "--no-align",
    "--tuples-only",
    "--set=ON_ERROR_STOP=1",
    f"--field-separator={BETWEEN}",
)
WORKING = """
data=$1 seen= ours= others=
parent_of() { parent=$2; }
for p in /proc/[0-9]*; do
    { read -r name <"$p/comm" && [ "$name" = postgres ] && read -r stat <"$p/stat"; } 2>/dev/null || continue
    case ${stat##*) } in Z*) ;; *) seen="$seen $p/cwd" ;; esac
done
told=$(find $seen -prune -printf '%h %l\\n' 2>/dev/null || true)
if [ -z "$told" ]; then for p in $seen; do [ ! -d "${p%/cwd}" ] || echo "$p" | tr -dc '0-9\\n'; done; fi
echo "$told" | while read -r p at; do
    if [ -n "$at" ]; then
        if [ "$at" = "$data" ]; then echo "${p#/proc/}"; fi
        continue
    fi
    main=$p parent=0 name=
    { read -r stat <"$p/stat" && parent_of ${stat##*) } && read -r name <"/proc/$parent/comm"; } 2>/dev/null || true
    if [ "$name" = postgres ]; then main=/proc/$parent; fi
    case $ours$others in *" $main "*) ;; *)
        argv="$(tr '\\0' ' ' 2>/dev/null <"$main/cmdline") " || continue
        case $argv in *" $data "*) ours="$ours $main " ;; *" -D "*) others="$others $main " ;;
            "postgres: "*) ours="$ours $main " ;; *) others="$others $main " ;; esac ;;
    esac
    case $ours in *" $main "*) echo "${p#/proc/}" ;; esac
done
"""
"""The processes that work in a folder. A zombie is dead; a pid in postmaster.pid may be a stranger's by now.

Where we may not see the folder of a process (it has capabilities that we have not), its postmaster's arguments tell;
an orphaned backend of which nothing tells counts as working there: what cannot be seen is not dead. No program is
started for each process of the host: on a busy one that takes seconds, and this is asked again and again."""


class Postgres:
    """One server: the primary of a database, or one of its standbys."""

    def __init__(self, shell: Shell, database: Database, server: Server, backups: Backups, stanza: str) -> None:
        self.shell, self.database, self.server, self.backups, self.stanza = shell, database, server, backups, stanza

    archives: tuple[str, ...] = ()
    """Folders with WAL of its own, besides the repository's: a copy's."""

    @property
    def data(self) -> str:
        return self.server.data

    def run(self, argv: Sequence[str], *, within: timedelta = SOON, on_line: OnLine | None = None) -> Done:
        return self.shell.run(argv, user=self.server.user, within=within, on_line=on_line)

    def sh(self, script: str, *arguments: str, within: timedelta = SOON) -> str:
        """What a script printed. Raises: Refused: it ended with another code than 0."""
        done = self.run(["sh", "-euc", script, "sh", *arguments], within=within)
        return done.must_succeed("see its message; nothing more was done there").text

    def program(self, name: str) -> str:
        return f"{self.server.programs}/{name}"

    def sql(
        self, statement: str, *, database: str | None = None, within: timedelta = SOON, **values: object
    ) -> list[list[str]]:
        """The rows of *statement*, asked over the socket; `:name` stands for a value.

        Raises:
            Unavailable: the server does not answer.
            Refused: it says that the statement is wrong, or that what it reads is.
        """
        variables = [f"--set={name}={value}" for name, value in values.items()]
        where = [f"--host={self.server.socket}", f"--port={self.server.port}", f"--username={self.server.user}"]
        argv = [self.program("psql"), *PSQL, *variables, *where, f"--dbname={database or 'postgres'}"]
        done = self.shell.run(argv, user=self.server.user, within=within, input=statement.encode())
        if done.exit_code == NOT_CONNECTED:
            raise Unavailable(f"PostgreSQL on {self.server.host}: {done.said}", "does it run? see its log")
        text = done.must_succeed("see the server's log").text
        return [line.split(BETWEEN) for line in text.splitlines()]

    def value(self, statement: str, *, database: str | None = None) -> str:
        return self.sql(statement, database=database)[0][0]

    def answers(self) -> bool:
        try:
            return self.value("select 1") == "1"
        except Unavailable:
            return False

    def processes(self) -> list[str]:
        """Who works in the data directory: postmaster and backends."""
        return self.sh(WORKING, self.data).split()

    def service(self, command: Sequence[str], *, within: timedelta) -> Done:
        """The site's own start or stop."""
        return self.shell.run(command, user=self.server.service_user or self.server.user, within=within)

    def pgbackrest(self, *arguments: str, within: timedelta = SOON, on_line: OnLine | None = None) -> Done:
        return self.run(self.pgbackrest_command(*arguments), within=within, on_line=on_line)

    def pgbackrest_command(self, *arguments: str) -> list[str]:
        """The configuration is always named: it is written into restore_command."""
        return [self.backups.program, f"--config={self.backups.config}", f"--stanza={self.stanza}", *arguments]


def database_of(case: Case) -> Database:
    """The database that the application's rows are in; in a sandbox its only standby is the one that was made there.

    Raises:
        Refused: it names none, or several, or the site file does not say how it is recovered.
    """
    names = list(dict.fromkeys(rows.database for rows in case.application.rows))
    if len(names) != 1:
        raise Refused(
            f"{case.application.name} has {len(names)} databases: {', '.join(names) or 'none'}",
            "name exactly one under applications.rows: one run recovers one database",
        )
    found = database_values.led_by(backed_up(case.site, names[0]), _leader(case))
    if case.kind is not RunKind.SANDBOX:
        return found
    made = case.recorded("database_sandbox.make")
    has_standby = made is not None and made["evidence"]["standby"] is not None
    return found.model_copy(update={"standbys": (found.server,) if has_standby else ()})


def backed_up(site: Site, name: str) -> Database:
    """The database of that name, with all that backups and recoveries need.

    Raises:
        Refused: the site file does not name it, or not all of that.
    """
    found = site.database(name)
    missing = [n for n in ("server", "backups", "stanza", "system_identifier") if getattr(found, n) is None]
    if missing:
        raise Refused(
            f"database {found.name} has no {', '.join(missing)} in the site file",
            "without these it is only asked by SQL; see databases in production.toml, and dr site pin",
        )
    return found


def _leader(case: Case) -> str | None:
    """The host of the primary: promoted by this run, else as it was found, else as the site file says."""
    promoted = case.recorded("database_promotion.promote")
    if promoted is not None and promoted["evidence"] is not None:
        return str(promoted["evidence"]["host"])
    seen = case.recorded("database_roles.find")
    return None if seen is None else str(seen["evidence"]["primary"])


@contextmanager
def primary(case: Case) -> Iterator[Postgres]:
    """The server that is broken and brought back: the primary; in a sandbox the copy of it that this run has made.

    Raises: as `tasks.hosts.connect`.
    """
    with original(case) as found:
        if case.kind is RunKind.SANDBOX and case.recorded("database_sandbox.make") is not None:
            from tasks import database_sandbox  # which stands on this module

            yield database_sandbox.leading(case, found)
        else:
            yield found


@contextmanager
def original(case: Case) -> Iterator[Postgres]:
    """Raises: as `tasks.hosts.connect`."""
    database = database_of(case)
    assert database.server is not None
    with connected(case.site, database, database.server) as made:
        yield made


@contextmanager
def standby(case: Case, server: Server) -> Iterator[Postgres]:
    """In a sandbox the copy's, which is on the same host."""
    with connected(case.site, database_of(case), server) as found:
        if case.kind is RunKind.SANDBOX:
            from tasks import database_sandbox

            yield database_sandbox.standby(case, found)
        else:
            yield found


@contextmanager
def connected(site: Site, database: Database, server: Server) -> Iterator[Postgres]:
    """One server of a database that is `backed_up`. Raises: as `tasks.hosts.connect`."""
    assert database.backups is not None
    with hosts.connect(site, server.host) as shell:
        yield Postgres(shell, database, server, _backups_on(server, database.backups), str(database.stanza))


def _backups_on(server: Server, backups: Backups) -> Backups:
    return backups if server.config is None else backups.model_copy(update={"config": server.config})

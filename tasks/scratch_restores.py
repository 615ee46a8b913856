"""A backup restored beside the database, in a folder of its own, started on a port of its own, and taken away again.

Production's repository is only read: archiving is off in the copy, by pgBackRest's option and by the server's. The
folder is held by a lock that its host gives up when we die, so that neither two tests meet in it, nor one waits for a
dead one. It stays, empty.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath

from runbooks.errors import NotRecovered, RecoveryError, Refused, Unavailable
from tasks import pgbackrest, scratch_addresses, waits
from tasks.clients.ssh import Done
from tasks.database_backups import BackupSet
from tasks.database_server import BETWEEN, PSQL, Postgres
from tasks.waits import NotYet

LOG = logging.getLogger("dr")
MARK = ".dr-scratch"
EMPTYING = timedelta(minutes=10)
LONGEST_TEST = timedelta(days=2)
HELD_BY_ANOTHER = 9
ROOM = 1.1
"""Of the size of what is restored: WAL is replayed on top of it."""
SETTINGS = {
    "archive_mode": "off",
    "archive_command": "",
    "fsync": "off",  # a copy that a power cut destroys is made again
    "hot_standby": "off",  # asked only when recovered; then limits may be smaller than production's
    "listen_addresses": "",
    "logging_collector": "off",
    "max_prepared_transactions": "200",
    "primary_conninfo": "",
    "recovery_target_action": "promote",
    "shared_buffers": "64MB",
    "ssl": "off",
    "synchronous_standby_names": "",
}
"""On the command line, which goes before what ALTER SYSTEM wrote in production."""
HOLD = """
umask 077
mkdir -p -- "$1" || exit 8
[ -O "$1" ] && [ ! -L "$1" ] || { echo "$1 is not a folder of $(id -un)" >&2; exit 8; }
exec flock --nonblock --no-fork --conflict-exit-code 9 "$1" sh -c 'echo $$; exec sleep "$1"' sleep "$2"
"""
EMPTY = """
[ -f "$1/$2" ] || [ -z "$(ls -A "$1")" ] || { echo "there are files in it that are not ours" >&2; exit 9; }
working() {
    find /proc -maxdepth 2 -name cwd -lname "$1/data" 2>/dev/null | cut -d/ -f3
    printf '%s' "--pg1-path=$1/data" | grep -lsF -f - /proc/[0-9]*/cmdline | cut -d/ -f3
}
if [ -f "$1/data/postmaster.pid" ] && [ -n "$(working "$1")" ]; then
    "$3/pg_ctl" -D "$1/data" -m immediate -w -t 60 stop >/dev/null 2>&1 || :
fi
for _ in 1 2 3 4 5 6 7 8 9 10; do
    left=$(working "$1"); [ -n "$left" ] || break
    kill -TERM $left 2>/dev/null || :; sleep 1
done
[ -z "$left" ] || { echo "processes still work in it: $left" >&2; exit 9; }
find "$1" -mindepth 1 -maxdepth 1 ! -name "$2" -exec rm -rf -- {} + && rm -f -- "$1/$2"
"""
MAKE = ': >"$1/$2" && cd "$1" && mkdir data run log lock tablespaces && df -Pk . | tail -1'


@dataclass(frozen=True)
class Scratch:
    """A running copy. Its socket is in a folder that only its owner may enter, and it listens nowhere else but at
    *address*, if it has one: there its database lets in who has a password that it had in production."""

    postgres: Postgres
    folder: str
    port: int
    address: str | None = None

    @property
    def data(self) -> str:
        return f"{self.folder}/data"

    @property
    def log(self) -> str:
        return f"{self.folder}/log/postgresql.log"

    def run(self, program: str, *arguments: str, input: str = "", within: timedelta = timedelta(hours=1)) -> Done:
        argv, user = [self.postgres.program(program), *arguments], self.postgres.server.user
        return self.postgres.shell.run(argv, user=user, within=within, input=input.encode())

    def ask(self, sql: str, *, database: str) -> list[list[str]]:
        """The rows of *sql*, NULL as an empty text. Raises: NotRecovered: the copy does not answer it."""
        where = [f"--host={self.folder}/run", f"--port={self.port}", f"--dbname={database}"]
        done = self.run("psql", *PSQL, *where, f"--username={self.postgres.server.user}", input=sql)
        if done.exit_code != 0:
            raise NotRecovered(f"the restored copy does not answer: {done.said}", f"SQL: {sql.strip()[:200]}")
        return [line.split(BETWEEN) for line in done.text.splitlines()]


@contextlib.contextmanager
def restored(
    postgres: Postgres, backup: BackupSet, *, folder: str, port: int, address: str | None = None,
    options: Sequence[str] = (), within: timedelta,
) -> Iterator[Scratch]:  # fmt: skip
    """A copy of *backup*, recovered to its end or as *options* of pgBackRest say, for as long as the block lasts.

    Changes: *folder* on the host, which is emptied before, whatever a killed run left in it, and is empty afterwards.

    Raises:
        Refused: folder, port or address could be production's, somebody else's files are in it, or there is no room.
        Unavailable: another one is at work in it.
        NotRecovered: it cannot be restored, or does not start.
    """
    scratch = Scratch(postgres, folder, port, address)
    _must_be_apart(scratch)
    with _held(scratch):
        empty(scratch)
        if address is not None:
            scratch_addresses.must_be_free(postgres, address, port)
        _make(scratch, backup)
        try:
            _restore(scratch, backup, options, within)
            _start(scratch, within)
            yield scratch
        finally:
            with contextlib.suppress(Unavailable):  # what was found counts; what is left, the next one takes away
                empty(scratch)


def _must_be_apart(scratch: Scratch) -> None:
    ours, theirs = PurePosixPath(scratch.folder), PurePosixPath(scratch.postgres.data)
    if ours.is_relative_to(theirs) or theirs.is_relative_to(ours) or ".." in ours.parts:
        raise Refused(
            f"restore_test.folder {ours} and the database's data {theirs} lie in each other", "name another folder"
        )
    if scratch.address is None and scratch.port == scratch.postgres.server.port:
        raise Refused(f"restore_test.port is the database's own, {scratch.port}", "name another port")


@contextlib.contextmanager
def _held(scratch: Scratch) -> Iterator[None]:
    """Nobody else works in the folder: a process there holds its lock, and lives as long as our connection does."""
    postgres, pid = scratch.postgres, Future[int]()
    argv = ["sh", "-c", HOLD, "hold", scratch.folder, str(int(LONGEST_TEST.total_seconds()))]

    def hold() -> None:
        try:
            done = postgres.run(argv, within=LONGEST_TEST, on_line=lambda line: _told(pid, line))
            error: RecoveryError = _not_held(scratch, done)
        except RecoveryError as lost:
            error = lost
        if not pid.done():
            pid.set_exception(error)

    threading.Thread(target=hold, name="hold", daemon=True).start()
    holder = pid.result()
    try:
        yield
    finally:
        with contextlib.suppress(RecoveryError):  # then the connection is broken, and its end gives the lock up
            postgres.run(["kill", str(holder)])


def _told(pid: Future[int], line: str) -> None:
    if line.isdigit() and not pid.done():
        pid.set_result(int(line))


def _not_held(scratch: Scratch, done: Done) -> RecoveryError:
    if done.exit_code == HELD_BY_ANOTHER:
        return Unavailable(
            f"another restore test is at work in {scratch.folder} on host {scratch.postgres.server.host}",
            "wait until it is done; two tests need two folders",
        )
    return Refused(
        f"{scratch.folder} cannot be held: {done.said}", "may its owner make that folder, and is flock there?"
    )


def empty(scratch: Scratch) -> None:
    """No process works in the folder, and nothing is in it. Raises: Refused: not ours; Unavailable: too slow."""
    argv = ["sh", "-c", EMPTY, "empty", scratch.folder, MARK, scratch.postgres.server.programs]
    done = scratch.postgres.run(argv, within=EMPTYING)
    done.must_succeed(f"look at {scratch.folder} on that host, and name an empty folder in the site file")


def _make(scratch: Scratch, backup: BackupSet) -> None:
    done = scratch.postgres.run(["sh", "-euc", MAKE, "make", scratch.folder, MARK])
    free = int(done.must_succeed(f"may its owner write in {scratch.folder}?").text.split()[3]) * 1024
    if free < backup.size_bytes * ROOM:
        raise Refused(
            f"backup {backup.label} needs {backup.size_bytes} bytes, {free} are free in {scratch.folder}",
            "free some, or name a folder on another disk: restore_test.folder",
        )
    user = scratch.postgres.server.user
    for name, text in (("hba.conf", _access(scratch)), ("postgresql.conf", "# all is on the command line\n")):
        scratch.postgres.shell.write(f"{scratch.folder}/{name}", text.encode(), user=user)


def _access(scratch: Scratch) -> str:
    """md5 takes a password that is kept as SCRAM, too."""
    database = scratch.postgres.database.database
    return "local all all trust\n" + ("" if scratch.address is None else f'host "{database}" all all md5\n')


def _restore(scratch: Scratch, backup: BackupSet, options: Sequence[str], within: timedelta) -> None:
    """Links and tablespaces become plain folders: they would lead to production's."""
    LOG.info("restoring backup %s to %s", backup.label, scratch.folder)
    postgres = scratch.postgres
    own = [f"--pg1-path={scratch.data}", *(f"--{name}-path={scratch.folder}/{name}" for name in ("lock", "log"))]
    # pgBackRest's own would fetch WAL ahead by the spool folder of production's configuration
    fetch = f'{shlex.join(postgres.pgbackrest_command(*own, "--no-archive-async", "archive-get"))} %f "%p"'
    what = [f"--set={backup.label}", "--archive-mode=off", f"--tablespace-map-all={scratch.folder}/tablespaces"]
    try:
        pgbackrest.run(postgres, *own, *what, f"--recovery-option=restore_command={fetch}", *options, "restore",
                       within=within)  # fmt: skip
    except (NotRecovered, pgbackrest.Damaged) as error:
        raise NotRecovered(f"backup {backup.label} cannot be restored: {error.problem}", error.hint) from error


def _start(scratch: Scratch, within: timedelta) -> None:
    """It has recovered and takes questions when this returns."""
    own = {
        "config_file": f"{scratch.folder}/postgresql.conf",
        "hba_file": f"{scratch.folder}/hba.conf",
        "unix_socket_directories": f"{scratch.folder}/run",
        "port": str(scratch.port),
        **({} if scratch.address is None else {"listen_addresses": scratch.address, **scratch_addresses.LOGGED}),
    }
    options = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in {**SETTINGS, **own}.items())
    log, seconds = scratch.log, f"--timeout={within.total_seconds():.0f}"
    done = scratch.run(
        "pg_ctl", f"--pgdata={scratch.data}", f"--log={log}", "-o", options, "--wait", seconds, "start", within=within
    )
    if done.exit_code != 0:
        raise _not_started(scratch, log, done)
    waits.wait_until(
        lambda: _is_recovered(scratch, log), within=within, what=f"end of the recovery in {scratch.folder}",
        otherwise=NotRecovered, hint=f"see {log} on that host: is WAL missing in the archive?",
    )  # fmt: skip


def _not_started(scratch: Scratch, log: str, done: Done) -> NotRecovered:
    end = scratch.postgres.run(["tail", "-n", "8", log]).text.strip()
    return NotRecovered(
        f"the restored copy does not start: {end[-600:] or done.said}", "is WAL missing in the archive?"
    )


def _is_recovered(scratch: Scratch, log: str) -> bool | NotYet:
    """With hot standby off nobody is let in before the end. A server that died in its recovery is not waited for."""
    try:
        in_recovery = scratch.ask("select pg_is_in_recovery()", database="postgres") != [["f"]]
    except NotRecovered as error:
        status = scratch.run("pg_ctl", f"--pgdata={scratch.data}", "status")
        if status.exit_code != 0:
            raise _not_started(scratch, log, status) from error
        return NotYet(error.problem)
    return NotYet("it still replays WAL") if in_recovery else True

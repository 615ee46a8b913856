"""A backup restored beside the database, in a folder of its own, started on a port of its own, and taken away again.

Production's repository is only read: archiving is off in the copy, by pgBackRest's option and by the server's.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath

from runbooks.database_backups import BackupSet
from runbooks.errors import NotRecovered, RecoveryError, Refused
from runbooks.hosts import Server
from tasks import waits
from tasks.clients.ssh import Done, Shell
from tasks.pgbackrest import Stanza
from tasks.waits import NotYet

LOG = logging.getLogger("dr")
MARK = ".dr-scratch"
STOPPING = timedelta(minutes=2)
SETTINGS = {
    "archive_mode": "off",
    "fsync": "off",  # a copy that a power cut destroys is made again
    "hot_standby": "off",  # asked only when recovered; then limits may be smaller than production's
    "listen_addresses": "",
    "logging_collector": "off",
    "shared_buffers": "64MB",
    "ssl": "off",
}


@dataclass(frozen=True)
class Scratch:
    """A running copy. Its socket is in a folder that only its owner may enter, and it listens nowhere else."""

    shell: Shell
    server: Server
    folder: str
    port: int

    @property
    def data(self) -> str:
        return f"{self.folder}/data"

    def run(self, program: str, *arguments: str, input: str = "", within: timedelta = timedelta(hours=1)) -> Done:
        return self.shell.run(
            [f"{self.server.programs}/{program}", *arguments],
            user=self.server.user,
            within=within,
            input=input.encode(),
        )

    def ask(self, sql: str, *, database: str) -> list[list[str]]:
        """The rows of *sql*, NULL as an empty text. Raises: NotRecovered: the copy does not answer it."""
        where = [f"--host={self.folder}/run", f"--port={self.port}", f"--dbname={database}"]
        done = self.run("psql", *where, "-XqAt", "-F\t", "-v", "ON_ERROR_STOP=1", "-f", "-", input=sql)
        if done.exit_code != 0:
            raise NotRecovered(f"the restored copy does not answer: {done.said}", f"SQL: {sql[:200]}")
        return [line.split("\t") for line in done.text.splitlines()]


@contextlib.contextmanager
def restored(
    stanza: Stanza, backup: BackupSet, *, folder: str, port: int, options: Sequence[str] = (), within: timedelta
) -> Iterator[Scratch]:
    """A copy of *backup*, recovered to its end or as *options* of pgBackRest say, for as long as the block lasts.

    Changes: *folder* on the host, which is emptied before, whatever a killed run left in it, and gone afterwards.

    Raises:
        Refused: the folder or port could be production's, somebody else's files are in it, or there is no room.
        NotRecovered: it cannot be restored, or does not start.
    """
    scratch = Scratch(stanza.shell, stanza.server, folder, port)
    _must_be_apart(scratch)
    remove(scratch)
    _make(scratch, backup)
    try:
        _restore(stanza, scratch, backup, options, within)
        _start(scratch, within)
        yield scratch
    finally:
        with contextlib.suppress(RecoveryError):  # what was found counts; what is left, the next one removes
            remove(scratch)


def remove(scratch: Scratch) -> None:
    """The copy is stopped and its folder gone. Raises: Refused: the folder is not one of ours."""
    script = """
[ -e "$1" ] || exit 0
[ -f "$1/$2" ] || [ -z "$(ls -A "$1")" ] || { echo "there are files in it that are not ours" >&2; exit 9; }
if [ -f "$1/data/postmaster.pid" ]; then "$3/pg_ctl" -D "$1/data" -m immediate -w -t 60 stop >/dev/null 2>&1; fi
for process in /proc/[0-9]*; do
    [ "$(readlink "$process/cwd")" = "$1/data" ] && { echo "process ${process#/proc/} still works in it" >&2; exit 9; }
done
rm -rf -- "$1"
"""
    argv = ["sh", "-c", script, "remove", scratch.folder, MARK, scratch.server.programs]
    done = scratch.shell.run(argv, user=scratch.server.user, within=STOPPING)
    done.must_succeed(f"look at {scratch.folder} on that host, and name an empty folder in the site file")


def _must_be_apart(scratch: Scratch) -> None:
    ours, theirs = PurePosixPath(scratch.folder), PurePosixPath(scratch.server.data)
    if ours.is_relative_to(theirs) or theirs.is_relative_to(ours) or ".." in ours.parts:
        raise Refused(
            f"restore_test.folder {ours} and the database's data {theirs} lie in each other", "name another folder"
        )
    if scratch.port == scratch.server.port:
        raise Refused(f"restore_test.port is the database's own, {scratch.port}", "name another port")


def _make(scratch: Scratch, backup: BackupSet) -> None:
    script = 'umask 077; mkdir -p -- "$1" && : >"$1/$2" && cd "$1" && mkdir data run log lock && df -Pk . | tail -1'
    argv = ["sh", "-c", script, "make", scratch.folder, MARK]
    done = scratch.shell.run(argv, user=scratch.server.user)
    free = int(done.must_succeed(f"may {scratch.server.user} make {scratch.folder}?").text.split()[3]) * 1024
    if free < backup.size_bytes * 1.1:
        raise Refused(
            f"backup {backup.label} needs {backup.size_bytes} bytes, {free} are free in {scratch.folder}",
            "free some, or name a folder on another disk: restore_test.folder",
        )
    scratch.shell.write(f"{scratch.folder}/hba.conf", b"local all all trust\n", user=scratch.server.user)
    lines = {
        **SETTINGS,
        "port": str(scratch.port),
        "unix_socket_directories": f"{scratch.folder}/run",
        "hba_file": f"{scratch.folder}/hba.conf",
    }
    text = "".join(f"{name} = '{value}'\n" for name, value in lines.items())
    scratch.shell.write(f"{scratch.folder}/postgresql.conf", text.encode(), user=scratch.server.user)


def _restore(stanza: Stanza, scratch: Scratch, backup: BackupSet, options: Sequence[str], within: timedelta) -> None:
    LOG.info("restoring backup %s to %s", backup.label, scratch.folder)
    own = [f"--{name}-path={scratch.folder}/{name}" for name in ("lock", "log")]
    paths = [f"--pg1-path={scratch.data}", *own]
    where = [f"--set={backup.label}", "--archive-mode=off", "--link-all"]
    # pgBackRest's own would fetch WAL ahead by the spool folder of production's configuration
    fetch = f'{shlex.join(stanza.command(*paths, "--no-archive-async", "archive-get"))} %f "%p"'
    try:
        stanza.run(*paths, *where, f"--recovery-option=restore_command={fetch}", *options, "restore", within=within)
    except NotRecovered as error:
        raise NotRecovered(f"backup {backup.label} cannot be restored: {error.problem}", error.hint) from error


def _start(scratch: Scratch, within: timedelta) -> None:
    """It has recovered and takes questions when this returns."""
    options = f"-c config_file={scratch.folder}/postgresql.conf -c archive_mode=off"
    log = f"{scratch.folder}/log/postgresql.log"
    seconds = f"--timeout={within.total_seconds():.0f}"
    done = scratch.run(
        "pg_ctl", f"--pgdata={scratch.data}", f"--log={log}", "-o", options, "--wait", seconds, "start", within=within
    )
    if done.exit_code != 0:
        end = scratch.shell.run(["tail", "-n", "8", log], user=scratch.server.user).text.strip()
        raise NotRecovered(f"the restored copy does not start: {end or done.said}", "is WAL missing in the archive?")
    waits.wait_until(
        lambda: _is_recovered(scratch),
        within=within,
        what=f"end of the recovery in {scratch.folder}",
        otherwise=NotRecovered,
        hint=f"see {log} on that host: is WAL missing in the archive?",
    )


def _is_recovered(scratch: Scratch) -> bool | NotYet:
    """pg_ctl has waited for consistency only; with hot standby off nobody is let in before the end."""
    try:
        in_recovery = scratch.ask("select pg_is_in_recovery()", database="postgres") != [["f"]]
    except NotRecovered as error:
        return NotYet(error.problem)
    return NotYet("it still replays WAL") if in_recovery else True

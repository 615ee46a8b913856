"""A copy of a database beside it: restored into a folder of its own, on a socket of its own. Production is only read.

It listens nowhere, archives nothing into production's repository, and loads no library that could act by itself. A copy
of a copy lies in the folder of the first one, and goes with it.
"""

from __future__ import annotations

import hashlib
import shlex
from datetime import timedelta

from runbooks.errors import NotRecovered, Refused, Unavailable
from tasks.cases import Case
from tasks.clients.ssh import Done
from tasks.clients.ssh_following import OnLine
from tasks.database_server import SOON, Postgres
from tasks.waits import NotYet, wait_until

MARK = ".dr-copy"
SPARE = 1.1
SETTINGS = {
    "archive_mode": "off",
    "cluster_name": "dr-copy",
    "external_pid_file": "",
    "hot_standby": "on",
    "listen_addresses": "",
    "log_destination": "stderr",
    "logging_collector": "off",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "shared_buffers": "64MB",
    "shared_preload_libraries": "",
    "ssl": "off",
    "synchronous_standby_names": "",
}
MAKE = """
[ ! -e "$1" ] || { echo "$1 is there already" >&2; exit 9; }
umask 077
mkdir -p -- "$1" && : >"$1/$2"
cd "$1" && mkdir data run log lock archive tablespaces
printf 'local all all trust\\nlocal replication all trust\\n' >hba.conf
: >postgresql.conf
df --output=avail --block-size=1 . | tail -n 1
"""
START = """
names='max_[a-z_]*\\|track_commit_timestamp'
least=$("$1/pg_controldata" "$2" | sed -n "s/^\\($names\\) setting: *\\([0-9a-z]*\\)$/-c \\1=\\2/p" \\
    | sed 's/_xacts=/_transactions=/; s/_per_xact=/_per_transaction=/' | tr '\\n' ' ')
exec "$1/pg_ctl" --pgdata="$2" --log="$3" --wait --timeout=3600 --options="$4 $least" start
"""
"""A standby's limits must not be smaller than those that its primary had; times of commits are kept as there."""
REMOVE = """
[ -e "$1" ] || exit 0
[ -f "$1/$2" ] || { echo "$1 is not a copy of ours" >&2; exit 9; }
working() {
    find /proc -maxdepth 2 -name cwd -lname "$1/*" 2>/dev/null | cut -d/ -f3
    printf '%s' "--pg1-path=$1/" | grep -lsF -f - /proc/[0-9]*/cmdline | cut -d/ -f3 || :
}
tries=0
while left=$(working "$1"); [ -n "$left" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "processes still work in $1: $left" >&2; exit 9; }
    for p in $left; do
        case "$(cat "/proc/$p/comm" 2>/dev/null)" in
            postgres) kill -QUIT "$p" 2>/dev/null || : ;;
            pgbackrest) kill -TERM "$p" 2>/dev/null || : ;;
        esac
    done
    sleep 0.2
done
rm -rf -- "$1"
"""
"""By what works in the folder, not by a pid in a file: that may be a stranger's by now."""
LEFT = """
for folder in "$1".copy-*; do
    if [ "$folder" != "$2" ] && [ -f "$folder/$3" ]; then echo "$folder"; fi
done
"""
STOPS_WITHIN = timedelta(minutes=2)


class Copy(Postgres):
    """Asked, stopped and restored like the original, in a folder of its own.

    `archives`: what is written in it goes to an archive of its own. `follows`: it is a standby of the *original*.
    """

    def __init__(self, original: Postgres, folder: str, *, archives: bool = False, follows: bool = False) -> None:
        self.folder = folder
        self.archives = (*((f"{folder}/archive",) if archives else ()), *original.archives)
        settings = {
            **SETTINGS,
            "port": str(original.server.port),
            "unix_socket_directories": f"{folder}/run",
            "hba_file": f"{folder}/hba.conf",
            "config_file": f"{folder}/postgresql.conf",
        }
        if archives:
            settings |= {"archive_mode": "on", "archive_command": f'cp "%p" {shlex.quote(folder)}/archive/%f'}
        if follows:
            there = original.server
            settings["primary_conninfo"] = f"host={there.socket} port={there.port} user={there.user}"
        told = " ".join(["-c " + shlex.quote(f"{name}={value}") for name, value in settings.items()])
        programs, data = original.server.programs, f"{folder}/data"
        start = ("sh", "-euc", START, "sh", programs, data, f"{folder}/log/postgresql.log", told)
        stop = (f"{programs}/pg_ctl", f"--pgdata={data}", "--mode=fast", "--wait", "stop")
        server = original.server.model_copy(
            update={
                "data": data,
                "socket": f"{folder}/run",
                "start": start,
                "stop": stop,
                "service_user": None,
                "log": f"{folder}/log/postgresql.log",
            }
        )
        super().__init__(original.shell, original.database, server, original.backups, original.stanza)

    @property
    def log(self) -> str:
        return f"{self.folder}/log/postgresql.log"

    def pgbackrest(self, *arguments: str, within: timedelta = SOON, on_line: OnLine | None = None) -> Done:
        """A restore goes into the folder, tablespaces too, and what it writes into the settings stays there.

        The archives of copies are asked first: what was written in a copy lies there alone.
        """
        if arguments[-1] == "restore":
            own = [f"--{name}-path={self.folder}/{name}" for name in ("lock", "log")]
            paths = [f"--pg1-path={self.data}", *own]
            program = [self.backups.program, f"--config={self.backups.config}", f"--stanza={self.stanza}"]
            get = f'{shlex.join([*program, *paths, "--no-archive-async", "archive-get"])} %f "%p"'
            fetch = " || ".join([*(f'cp {shlex.quote(one)}/%f "%p" 2>/dev/null' for one in self.archives), get])
            apart = [f"--tablespace-map-all={self.folder}/tablespaces", "--archive-mode=off"]
            arguments = tuple(_followed(one) for one in arguments)
            arguments = (*paths, *apart, f"--recovery-option=restore_command={fetch}", *arguments)
        return super().pgbackrest(*arguments, within=within, on_line=on_line)

    def run_to_its_pause(self, *options: str, within: timedelta) -> str:
        """It is started, has replayed to its target and waits there; the line of its log that says so.

        Raises:
            NotRecovered: it died on the way, or did not come so far in time.
        """
        self.begin(*options, within=within)

        def look() -> bool | NotYet:
            self.must_live()
            try:
                state = self.value("select pg_get_wal_replay_pause_state()")
            except Unavailable as error:
                return NotYet(error.problem)
            return True if state == "paused" else NotYet(f"{state}, at {self.value('select pg_last_wal_replay_lsn()')}")

        wait_until(look, within=within, what="the copy at its target", otherwise=NotRecovered, hint=f"see {self.log}")
        return self.sh('grep "recovery stopping" "$1" | tail -n 1', self.log).strip()

    def begin(self, *options: str, within: timedelta) -> None:
        """It runs, with these *options* more. Raises: NotRecovered: it does not start."""
        *program, told = self.server.start
        started = self.run([*program, " ".join([told, *options])], within=within)
        if started.exit_code != 0:
            self.must_live()
            raise NotRecovered(f"the copy in {self.folder} does not start: {started.said}", "see its log")

    def must_live(self) -> None:
        """Raises: NotRecovered: it died, with the end of its log."""
        if not self.processes():
            said = self.sh("grep -E 'FATAL|PANIC' \"$1\" | tail -n 2 || true", self.log).strip()[-500:]
            raise NotRecovered(f"the copy in {self.folder} ended: {said}", "the service was not touched")

    def stop(self) -> None:
        self.run(self.server.stop, within=STOPS_WITHIN)
        if left := self.processes():
            raise NotRecovered(f"the copy in {self.folder} does not stop: {left}", "the service was not touched")


def _followed(argument: str) -> str:
    """pgBackRest may look for a timeline in its own archive, and those of the copy are in the copy's."""
    return argument.replace("--target-timeline=", "--recovery-option=recovery_target_timeline=")


def folder(case: Case, postgres: Postgres) -> str:
    """Short, since a socket's path may have no more than 107 characters."""
    if isinstance(postgres, Copy):
        return f"{postgres.folder}/beside"
    return f"{postgres.data}.copy-{hashlib.sha256(case.run_id.encode()).hexdigest()[:8]}"


def make(case: Case, copy: Copy, size_bytes: int) -> None:
    """An empty place for it; what a killed attempt or an earlier run left is removed: we hold the lock, they are dead.

    Raises:
        Refused: there is no room, or strangers' files are there.
    """
    remove(copy)
    original, _, own = copy.folder.rpartition(".copy-")
    for left in copy.sh(LEFT, original, copy.folder, MARK).split() if "/" not in own else ():
        copy.sh(REMOVE, left, MARK, within=STOPS_WITHIN)
        case.event(f"an earlier run left its copy {left}: it was removed")
    case.write(f"make a copy of {copy.database.name} in {copy.folder}", host=copy.server.host, directory=copy.folder)
    free = int(copy.sh(MAKE, copy.folder, MARK))
    if free < size_bytes * SPARE:
        remove(copy)
        raise Refused(
            f"a copy needs {size_bytes} bytes, {free} are free beside {copy.folder} on {copy.server.host}",
            "make room there",
        )


def remove(copy: Copy) -> None:
    """The copy is stopped and its folder gone. Raises: Refused: the folder is not one of ours."""
    copy.sh(REMOVE, copy.folder, MARK, within=STOPS_WITHIN)

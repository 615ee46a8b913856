"""A lab of its own for the tests of databases: `dr lab up --only database`, one for each pytest worker.

How a test uses it: mark it `database`, take the fixture `database` (a `TheDatabase`). A drill is `database.drill(…)`,
or `database.dr("run", …)`; `database.sql` asks as superuser, `database.on_host` runs a script as PostgreSQL's own user,
`database.pgbackrest` is the tool on the database's host. After each test the fixture asks whether the lab is in good
order, and only if it is not, `database.rewind()` puts the database back to what it was when the lab came up: some 5 s,
against 15 to 20 for a new lab. A test that spoils the repository, a host or the site file puts that back by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pg8000.native

from deployments.lab.region_address import LAST_LAB
from runbooks.report_schema import Report
from tests.lab.the_lab import DR, ROOT, TheLab

FOLDER = ROOT / ".lab-database"
SCENARIO = "database-corruption"
SUSTAIN = ('sustain = "5 s"', 'sustain = "1 s"')
KEPT_FULL = 60
"""Full backups: each drill takes one, and the one that everything is rewound to must not expire."""
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--inh-caps=+dac_read_search",
               "--ambient-caps=+dac_read_search", "--")  # fmt: skip
SEEDED = """select (select md5(string_agg(o::text, ',' order by id)) from orders o),
    (select md5(string_agg(p::text, ',' order by id)) from payments p)"""
REWIND_PRIMARY = """
programs=$1 data=$2; shift 2
"$programs/pg_ctl" --pgdata="$data" --mode=immediate --wait stop >/dev/null 2>&1 || true
rm -rf "$data" "$data".*; mkdir -m 700 "$data"
"$@" restore
"""
REWIND_STANDBY = """
programs=$1 data=$2 other=$3 port=$4
"$programs/pg_ctl" --pgdata="$data" --mode=immediate --wait stop >/dev/null 2>&1 || true
rm -rf "$data" "$data".*
"$programs/pg_basebackup" --pgdata="$data" --host="$other" --port="$port" --slot=standby --checkpoint=fast --no-sync
cp -p "$data/../standby.conf" "$data/postgresql.auto.conf"; touch "$data/standby.signal"
"""


@dataclass
class Held:
    """The number of a lab: taken by nobody else on this machine while this process lives. It leaves nothing behind."""

    number: int
    door: socket.socket


def hold_number() -> Iterator[Held]:
    """Free numbers, below the two that tests of the lab itself use; the lab with Kubernetes keeps its own."""
    for number in range(LAST_LAB - 2, -1, -1):
        if number == int(os.environ.get("DR_LAB_NUMBER", "0")):
            continue
        door = socket.socket(socket.AF_UNIX)
        try:
            door.bind(f"\0dr-lab-number-{number}")
        except OSError:
            door.close()
            continue
        yield Held(number, door)
        door.close()


@dataclass(frozen=True)
class TheDatabase(TheLab):
    root: Path = field(default_factory=Path)
    number: int = 0

    @property
    def variables(self) -> dict[str, str]:
        return {"DR_LAB_ROOT": str(self.root), "DR_LAB_NUMBER": str(self.number)}

    def folder(self, region: str = "a") -> Path:
        """PostgreSQL's, of the primary (a) or of the standby (b): data, log, run."""
        return self.root / region / "pg"

    @property
    def data(self) -> Path:
        return self.folder() / "data"

    @property
    def log(self) -> Path:
        return self.folder() / "log" / "postgresql.log"

    @property
    def programs(self) -> str:
        return "/usr/lib/postgresql/15/bin"

    def port(self, region: str = "a") -> str:
        return self.env[f"PGURI_{region.upper()}"].rpartition(":")[2].partition("/")[0]

    def on_host(self, script: str, *arguments: str, seconds: float = 60) -> str:
        """What a script printed, run by PostgreSQL's own user."""
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder()), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [*AS_POSTGRES, "sh", "-euc", script, "sh", *arguments], env=environment, cwd="/", capture_output=True,
            text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def sql(self, statement: str, *, region: str = "a", database: str = "orders", seconds: float = 30) -> str:
        """Over the socket as PostgreSQL's own user: no fence keeps it out."""
        argv = [f"{self.programs}/psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder(region) / "run"),
                "-p", self.port(region), "-U", "postgres", "-d", database, "-c", statement]  # fmt: skip
        return self.on_host('"$@"', *argv, seconds=seconds).strip()

    def pgbackrest(self, *arguments: str, seconds: float = 120) -> str:
        return self.on_host('"$@"', *self.pgbackrest_command(), *arguments, seconds=seconds)

    def pgbackrest_command(self) -> list[str]:
        return ["pgbackrest", f"--config={self.folder() / 'pgbackrest.conf'}", "--stanza=lab"]

    def sets(self) -> list[str]:
        """The labels of the backup sets, oldest first."""
        return [one["label"] for one in json.loads(self.pgbackrest("info", "--output=json"))[0]["backup"]]

    @property
    def base(self) -> str:
        """The set of when the lab came up, to which the database is rewound."""
        return (self.root / "base").read_text()

    def start(self, region: str = "a") -> None:
        kept = self.folder(region)
        script = '"$1" --pgdata="$2" --log="$3" --wait start >/dev/null || { tail -n 20 "$3" >&2; false; }'
        self.on_host(script, f"{self.programs}/pg_ctl", str(kept / "data"), str(kept / "log" / "postgresql.log"))

    def stop(self, region: str = "a", mode: str = "fast") -> None:
        self.on_host('"$1" --pgdata="$2" --mode="$3" --wait stop >/dev/null', f"{self.programs}/pg_ctl",
                     str(self.folder(region) / "data"), mode)  # fmt: skip

    def drill(self, run_id: str, *argv: str, seconds: float = 240) -> subprocess.CompletedProcess[str]:
        """A whole drill, such as `drill("x", "--with", "damage=pages")`."""
        return self.dr(*DRILL, "--run-id", run_id, *argv, seconds=seconds)

    def report(self, run_id: str) -> Report:
        return Report.from_file(self.evidence(run_id) / "report.json")

    @contextmanager
    def site(self, *changes: tuple[str, str]) -> Iterator[None]:
        """The site file says something else meanwhile."""
        path = self.root / "site.toml"
        before = path.read_text()
        after = before
        for old, new in changes:
            assert old in after, f"the site file has no {old}"
            after = after.replace(old, new)
        path.write_text(after)
        try:
            yield
        finally:
            path.write_text(before)

    def is_in_good_order(self) -> bool:
        """Clients get in, the rows are those of the seed, WAL is archived, the standby follows on the same timeline."""
        try:
            timeline = self.sql("select timeline_id from pg_control_checkpoint()")
            with pg8000.native.Connection(
                "orders", host="127.0.0.1", port=int(self.port()), database="orders", timeout=5, ssl_context=False,
                password=(self.root / "secrets" / "postgres-orders").read_text(),
            ) as client:  # fmt: skip
                client.run("select 1")
            seeded = self.sql(SEEDED)
            follows = self.sql("select received_tli from pg_stat_wal_receiver where status = 'streaming'", region="b")
            self.pgbackrest("check")
        except (AssertionError, pg8000.native.Error, OSError):
            return False
        return seeded == (self.root / "seeded").read_text() and follows == timeline

    def put_in_good_order(self) -> None:
        """A standby that was cut off comes back within seconds; then there is nothing to rewind."""
        with suppress(AssertionError):
            self.until(self.is_in_good_order, "good order", seconds=4)
            return
        self.rewind()

    def rewind(self) -> None:
        """The database is as it was when the lab came up, on a timeline of its own; so is the standby.

        From the backup set of then, by the tools themselves: the repository stays as it is, and knows all that was."""
        arguments = [f"--set={self.base}", "--type=immediate", "--target-action=promote"]
        self.on_host(REWIND_PRIMARY, self.programs, str(self.data), *self.pgbackrest_command(), *arguments)
        self.start()
        self.until_primary()
        self.sql("checkpoint; select pg_create_physical_replication_slot('standby', true) where not exists "
                 "(select from pg_replication_slots)")  # fmt: skip
        self.on_host(REWIND_STANDBY, self.programs, str(self.folder("b") / "data"),
                     str(self.folder() / "run"), self.port())  # fmt: skip
        self.start("b")
        self.until(self.is_in_good_order, "good order")
        self.pgbackrest("--type=full", "backup")  # or a run would count as lost what was rewound

    def until_primary(self, seconds: float = 60) -> None:
        """Recovery has ended, and pg_control names the new timeline."""
        self.until(lambda: self.sql("select pg_is_in_recovery()") == "f", "end of recovery", seconds)
        self.sql("checkpoint")

    def until(self, holds: object, what: str, seconds: float = 60) -> None:
        assert callable(holds)
        until = time.monotonic() + seconds
        while True:
            with suppress(AssertionError):
                if holds():
                    return
            assert time.monotonic() < until, f"{what}: not within {seconds} s"
            time.sleep(0.2)


DRILL = ("run", SCENARIO, "--site", "lab", "--mode", "drill", "--impact", "real", "--yes", "--no-server")


@contextmanager
def up(worker: str) -> Iterator[TheDatabase]:
    """A lab with nothing but databases; down at the end, with all that it was but the evidence of a failed test."""
    root = FOLDER / worker
    if (root / "lab.json").exists():
        _dr({"DR_LAB_ROOT": str(root)}, "lab", "down")  # a killed session has left it
    for held in hold_number():
        variables = {"DR_LAB_ROOT": str(root), "DR_LAB_NUMBER": str(held.number)}
        done = _dr(variables, "lab", "up", "--only", "database")
        if "is in use by" in done.stderr:
            continue
        try:
            if done.returncode != 0:  # a busy machine: what was not up in time is asked once more
                done = _dr(variables, "lab", "up", "--only", "database")
            assert done.returncode == 0, f"the lab does not come up:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            told = _dr(variables, "lab", "env").stdout
            lab = TheDatabase(dict(line.split("=", 1) for line in told.splitlines()), root, held.number)
            _settle(lab)
            yield lab
        finally:
            _dr(variables, "lab", "down")
        return
    raise AssertionError("no number of a lab is free")


def _dr(variables: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("DR_LAB")}
    return subprocess.run([*DR, *argv], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
                          env={**others, **variables}, stdin=subprocess.DEVNULL)  # fmt: skip


def _settle(lab: TheDatabase) -> None:
    """Waits that only cost time here are short; there is a backup set to come back to, and it does not expire."""
    site, config = lab.root / "site.toml", lab.folder() / "pgbackrest.conf"
    site.write_text(site.read_text().replace(*SUSTAIN).replace("retention_full = 2", f"retention_full = {KEPT_FULL}"))
    text = config.read_text().replace("repo1-retention-full=2", f"repo1-retention-full={KEPT_FULL}")
    config.write_text(text)
    lab.on_host('cp -p "$1/data/postgresql.auto.conf" "$1/standby.conf"', str(lab.folder("b")))
    lab.pgbackrest("--type=full", "backup")  # the lab's own is older than its rows
    (lab.root / "base").write_text(lab.sets()[-1])
    (lab.root / "seeded").write_text(lab.sql(SEEDED))


def remove_evidence(lab: TheDatabase) -> None:
    shutil.rmtree(lab.root, ignore_errors=True)
    with suppress(OSError):
        FOLDER.rmdir()

"""PostgreSQL 15 in a region, archiving to the region's S3: primary in a, in b a standby from the replica of it."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pg8000.native

from deployments.lab import pgbackrest, postgres_files, process
from deployments.lab.component import LabError, Proof, wait_for
from deployments.lab.lab import tail
from deployments.lab.pgbackrest import as_postgres
from deployments.lab.postgres_files import SLOT, USER, Files, files
from deployments.lab.proof import milliseconds

if TYPE_CHECKING:
    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

SET_UP = Path(__file__).with_name("postgres.sql")
PROBE = """insert into lab_probe values (1, clock_timestamp())
    on conflict (id) do update set at = excluded.at returning at"""


@dataclass(frozen=True)
class Postgres:
    region: Region

    @property
    def name(self) -> str:
        return f"postgres-{self.region.name}"

    def start(self, lab: Lab) -> None:
        """Starts what is on the disk, whatever a failover made of it; makes a primary or standby only from nothing."""
        kept = files(lab, self.region)
        _write_settings(lab, self.region, kept)
        if not kept.is_complete:
            (_make_primary if self.region.name == "a" else _make_standby)(lab, self.region, kept)
        if postmaster(lab, self.region) is None:
            launch(lab, self.region)
        if is_primary(lab, self.region):
            _set_up(lab, self.region)
            pgbackrest.protect(lab, self.region)
        elif self.region.name == "b":
            wait_until_streaming(lab, self.region)

    def prove(self, lab: Lab) -> Proof:
        begun = monotonic()
        done = (_write_and_read if is_primary(lab, self.region) else _read_replayed)(lab, self.region)
        said = f"{done}, {milliseconds(begun)}; repository ok with {pgbackrest.held(lab, self.region)} backups"
        pid = postmaster(lab, self.region)
        memory = process.memory_bytes(process.descendants(pid)) if pid else None
        address = f"{self.region.database_address}:{self.region.ports.postgres}"
        return Proof(self.name, self.region.name, address, pid, memory, said)

    def environment(self, lab: Lab) -> dict[str, str]:
        return {f"PGURI_{self.region.name.upper()}": uri(lab, self.region)}

    def stop(self, lab: Lab) -> None:
        """Needed on the host only; in a region it dies with its namespaces, but may be stopped alone."""
        kept = Files(lab.root / self.region.name / "pg")
        if kept.is_complete and postmaster(lab, self.region) is not None:
            as_postgres(lab, self.region, ["pg_ctl", f"--pgdata={kept.data}", "--mode=immediate", "--wait", "stop"])
        _end_copies(lab.root / self.region.name / "pg")


def _end_copies(folder: Path) -> None:
    """Of the database, left by a run that was killed: they were started over SSH, and do not bear the lab's mark.

    Raises: LabError: one does not end within 10 s.
    """

    def look() -> bool | None:
        left = [pid for pid in process.everyone() if _is_server_in(folder, pid)]
        for pid in left:
            if seen := process.stat(pid):
                process.send(pid, signal.SIGQUIT, started_ticks=seen.started_ticks)
        return None if left else True

    wait_for(look, what=f"end of the copies in {folder}", seconds=10, hint="end them by hand")


def _is_server_in(folder: Path, pid: int) -> bool:
    try:
        place = Path(f"/proc/{pid}/cwd").readlink()
        return place.is_relative_to(folder) and Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except OSError:  # it has ended, or is the kernel's
        return False


def password(lab: Lab, role: str) -> str:
    return lab.secret(f"postgres-{role}")


def uri(lab: Lab, region: Region, database: str = "orders") -> str:
    """The superuser's address of *database*."""
    return f"postgresql://{USER}:{password(lab, USER)}@{region.database_address}:{region.ports.postgres}/{database}"


def query(lab: Lab, region: Region, sql: str, *, database: str = USER) -> list[list[Any]]:
    """Rows of *sql*, asked over TCP as the superuser. Raises: LabError."""
    try:
        with pg8000.native.Connection(
            USER, host=region.database_address, port=region.ports.postgres, password=password(lab, USER),
            database=database, timeout=5, ssl_context=False,
        ) as connection:  # fmt: skip
            return connection.run(sql) or []
    except (pg8000.native.Error, OSError) as error:
        log = tail(Files(lab.root / region.name / "pg").log)
        raise LabError(
            f"PostgreSQL in region {region.name}: {error.__cause__ or error}", f"its log ends: {log}"
        ) from error


def is_primary(lab: Lab, region: Region) -> bool:
    return query(lab, region, "select pg_is_in_recovery()") == [[False]]


def system_identifier(lab: Lab, region: Region) -> str:
    return str(query(lab, region, "select system_identifier from pg_control_system()")[0][0])


def postmaster(lab: Lab, region: Region) -> int | None:
    """The host's pid of the living postmaster, whoever started it: recoveries stop and start it by SSH."""
    data = Files(lab.root / region.name / "pg").data
    try:
        inside = int((data / "postmaster.pid").read_text().split()[0])
    except (FileNotFoundError, IndexError):
        return None
    return next((pid for pid in _users(lab, region, data) if process.namespace_pid(pid) == inside), None)


def launch(lab: Lab, region: Region) -> None:
    """It accepts connections. Raises: LabError with the end of its log."""
    kept = files(lab, region)
    wait_for(
        lambda: None if _users(lab, region, kept.data) else True,
        what=f"end of the former PostgreSQL in {kept.data}",
        seconds=10,
        hint="its backends end when they notice that their postmaster is gone",
    )
    # PostgreSQL takes a zombie, or a stranger with that pid, for its predecessor. Nobody uses the folder: it is dead.
    for lock in (kept.data / "postmaster.pid", kept.socket / f".s.PGSQL.{region.ports.postgres}.lock"):
        lock.unlink(missing_ok=True)
    argv = ["pg_ctl", f"--pgdata={kept.data}", f"--log={kept.log}", "--wait", "--timeout=60", "start"]
    try:
        as_postgres(lab, region, argv, seconds=70)
    except LabError as error:
        raise LabError(error.problem, f"its log ends: {tail(kept.log)}") from error


def wait_until_streaming(lab: Lab, region: Region) -> None:
    def streams() -> bool | None:
        status = query(lab, region, "select status from pg_stat_wal_receiver")
        return True if status == [["streaming"]] else None

    wait_for(streams, what=f"streaming into region {region.name}", seconds=60, hint="is the primary's slot there?")


def _write_settings(lab: Lab, region: Region, kept: Files) -> None:
    for folder in kept.folders():
        folder.mkdir(exist_ok=True, mode=0o700)
    (kept.root / "lab.conf").write_text(postgres_files.server_settings(region, kept))
    for secret, text in (
        (kept.pgbackrest, postgres_files.pgbackrest_settings(lab, region, kept)),
        (kept.passwords, f"*:*:*:{USER}:{password(lab, USER)}\n*:*:*:standby:{password(lab, 'standby')}\n"),
    ):
        secret.touch(mode=0o600)
        secret.write_text(text)
    for path in (kept.root, kept.root / "lab.conf", kept.pgbackrest, kept.passwords, *kept.folders()):
        shutil.chown(path, USER, USER)


def _make_primary(lab: Lab, region: Region, kept: Files) -> None:
    """initdb works beside the final place, so that a killed one is never taken for a database."""
    draft, secret = kept.root / "data.new", kept.root / "tmp" / "password"
    shutil.rmtree(draft, ignore_errors=True)
    secret.write_text(password(lab, USER))
    shutil.chown(secret, USER, USER)
    argv = ["initdb", f"--pgdata={draft}", "--data-checksums", f"--username={USER}", f"--pwfile={secret}"]
    as_postgres(lab, region, [*argv, "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--auth=scram-sha-256"])
    secret.unlink()
    with (draft / "postgresql.conf").open("a") as settings:
        settings.write("include_if_exists '../lab.conf'\n")
    (draft / "pg_hba.conf").write_text(postgres_files.access())
    draft.rename(kept.data)


def _make_standby(lab: Lab, region: Region, kept: Files) -> None:
    """From the region's own bucket, so that its being there proves the replication."""
    other = lab.regions[region.other]
    newest = pgbackrest.labels(lab, other)[-1:]
    follow = f"host={other.database_address} port={other.ports.postgres} {postgres_files.following(region, kept)}"

    def restored() -> bool | None:
        if newest != pgbackrest.labels(lab, region)[-1:]:
            raise LabError(
                f"region {region.name}'s bucket does not hold backup {newest} yet", "is the replication running?"
            )
        shutil.rmtree(kept.data, ignore_errors=True)  # a first try may have met an index before its files
        options = [f"--recovery-option=primary_conninfo={follow}", f"--recovery-option=primary_slot_name={SLOT}"]
        pgbackrest.command(lab, region, "--type=standby", *options, "restore")
        return True

    wait_for(
        restored, what=f"standby in region {region.name}", seconds=90, hint="is the replication of buckets running?"
    )


def _set_up(lab: Lab, region: Region) -> None:
    """Passwords go in by standard input: arguments can be read by anybody on the machine."""
    passwords = "".join(f"\\set {role}_password '{password(lab, role)}'\n" for role in ("orders", "standby"))
    argv = ["psql", "--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1"]
    as_postgres(lab, region, argv, input=passwords + SET_UP.read_text())


def _write_and_read(lab: Lab, region: Region) -> str:
    written = query(lab, region, PROBE)
    if query(lab, region, "select at from lab_probe where id = 1") != written:
        raise LabError(f"PostgreSQL in region {region.name} does not return the row it took", "dr lab down; dr lab up")
    return "primary: a row written and read"


def _read_replayed(lab: Lab, region: Region) -> str:
    if not (state := query(lab, region, "select status, sender_host from pg_stat_wal_receiver")):
        raise LabError(f"PostgreSQL in region {region.name} follows no primary", "dr lab up --regions a,b")
    query(lab, region, "select at from lab_probe")
    return f"standby: {state[0][0]} from {state[0][1]}, a row read"


def _users(lab: Lab, region: Region, data: Path) -> list[int]:
    """The host's pids of all that work in *data*: postmaster and backends, but neither zombies nor strangers."""
    first = lab.running(f"region-{region.name}") if region.isolated else None
    if region.isolated and first is None:
        return []
    return [pid for pid in (process.descendants(first.pid) if first else process.everyone()) if _works_in(pid, data)]


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return False

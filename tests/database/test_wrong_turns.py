"""What the tools do without a word, and nobody wants: each is refused before anything stops, or caught.

Most of it is asked of an incident's plan: the same steps, the real server and repository, without the rest of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from runbooks import journal, wal
from runbooks import site as sites
from runbooks.errors import NotRecovered, Refused
from runbooks.journal import Journal
from runbooks.model import now, rfc3339
from runbooks.records import Impact, Mode
from runbooks.site import Bucket
from tasks import (
    database_backups,
    database_fence,
    database_plan,
    database_preconditions,
    database_restore,
    database_server,
    database_symptoms,
    database_timelines,
)
from tasks.cases import Attempt, Case, Request, opened, started
from tasks.database_plan import Plan
from tests.database import recoveries, repositories
from tests.database.the_database import SCENARIO, TheDatabase

pytestmark = [pytest.mark.database, pytest.mark.timeout(240)]


OTHERS = "7000000000000000001"


def case_of(folder: Path, *, backup: str | None = None, **options: object) -> Case:
    """An incident that has been opened, and whose evidence is in *folder*."""
    request = Request(
        scenario=SCENARIO, site="lab", application="orders", mode=Mode.INCIDENT, impact=Impact.REAL, backup=backup,
        options={name: str(value) if not isinstance(value, int) else value for name, value in options.items()},
    )  # fmt: skip
    site = sites.load("lab")
    site = site.model_copy(
        update={"evidence": site.evidence.model_copy(update={"store": Bucket(url=f"file://{folder}/store")})}
    )
    case = Case("wrong-turn", request, Attempt(), site, Journal(folder / "wrong-turn" / "journal.jsonl"))
    case.journal.begin_attempt(**started(case))
    case.note("opened", **opened(case))
    return case


def planned(case: Case) -> Plan:
    database_preconditions.check(case)
    database_symptoms.look(case)
    return database_plan.choose(case)


def committed(database: TheDatabase) -> int:
    """A transaction that changed a row, and left it as it was."""
    return int(database.sql("begin; select pg_current_xact_id(); update orders set id = id where id = 1; commit"))


@pytest.fixture
def newer(database: TheDatabase) -> tuple[int, str, str]:
    """A transaction, its position, and a backup set that is newer than it."""
    xid, lsn = committed(database), database.sql("select pg_current_wal_lsn()")
    database.pgbackrest("--type=incr", "backup")
    return xid, lsn, database.sets()[-1]


def test_set_newer_than_the_target(database: TheDatabase, tmp_path: Path, newer: tuple[int, str, str]) -> None:
    """pgBackRest restores it without a word, and recovers past the target: an older one is chosen, a named refused."""
    xid, lsn, label = newer
    targets: tuple[dict[str, object], ...] = ({"target_xid": xid}, {"target_lsn": lsn})
    for number, options in enumerate(targets):
        assert planned(case_of(tmp_path / f"{number}", backup=None, **options)).source.label != label
        with pytest.raises(Refused, match=f"no usable backup set {label}"):
            planned(case_of(tmp_path / f"{number}-named", backup=label, **options))


def test_restore_point_of_unknown_age(database: TheDatabase, tmp_path: Path) -> None:
    """Nobody can tell which backup is older; it is asked for."""
    database.sql("select pg_create_restore_point('before-migration')")
    with pytest.raises(Refused, match="when restore point before-migration was made is not known"):
        planned(case_of(tmp_path, restore_point="before-migration"))


def test_target_beyond_the_archive(database: TheDatabase, tmp_path: Path) -> None:
    """PostgreSQL would come to the end of the WAL and end itself, with the database down."""
    ahead = int(committed(database)) + 100_000
    later = rfc3339(now() + timedelta(hours=1))
    wrong: tuple[dict[str, object], ...] = ({"target_xid": ahead}, {"target_lsn": "FF/0"}, {"target_time": later})
    for number, options in enumerate(wrong):
        with pytest.raises(Refused, match=r"has begun yet|behind the end of the WAL|in the future"):
            planned(case_of(tmp_path / f"{number}", backup=None, **options))


def test_number_of_a_savepoint(database: TheDatabase, tmp_path: Path) -> None:
    """A row bears it as its xmin, but it never commits: recovery would not find it, and end with the database down."""
    whole, part = database.sql(BEHIND_A_SAVEPOINT).splitlines()
    plan = planned(case_of(tmp_path, target_xid=int(part)))
    assert int(part) > int(whole)
    assert plan.target.value == whole


def test_position_within_a_record(database: TheDatabase, tmp_path: Path) -> None:
    """As pg_waldump writes it, with zeros, and behind the record's first bytes: the next record is left out, which
    PostgreSQL names, and the transaction is kept."""
    begins = database.sql("select pg_current_wal_lsn()")
    committed(database)
    high, low = begins.split("/")
    inside = f"{high}/{int(low, 16) + 8:08X}"
    plan = planned(case_of(tmp_path, target_lsn=inside))
    assert plan.target.value is not None
    assert wal.position(inside) < wal.position(plan.target.value) <= wal.position(database.sql(END))


BEHIND_A_SAVEPOINT = """begin; select pg_current_xact_id(); savepoint inner_one; update orders set id = id where id = 2;
    select xmin from orders where id = 2; commit"""
END = "select pg_current_wal_lsn()"


def test_gap_in_the_wal(database: TheDatabase, tmp_path: Path) -> None:
    """PostgreSQL takes a gap for the end, promotes there, and says "no recovery target specified" as always. What the
    server itself still has is no gap."""
    segment = database.sql("select pg_walfile_name(pg_switch_wal())")
    committed(database)
    database.pgbackrest("check")
    bucket = repositories.Bucket(database, "pgbackrest")
    [key] = bucket.keys(f"/{segment}-")
    kept = database.data / "pg_wal" / segment
    with bucket.gone(key):
        planned(case_of(tmp_path / "held", target_xid=committed(database)))
        database.on_host('mv "$1" "$2"', str(kept), str(database.folder() / "tmp"))
        try:
            with pytest.raises(Refused, match=f"last seen: {segment}"):
                planned(case_of(tmp_path, target_xid=committed(database)))
        finally:
            database.on_host('mv "$1" "$2"', str(database.folder() / "tmp" / segment), str(kept))


def test_damaged_manifest(database: TheDatabase, tmp_path: Path) -> None:
    """pgBackRest lists the set as good, and fails when the old directory is aside: the set before it is chosen and
    somebody is told, one that is named is refused; so is all when none is left."""
    sets = database.sets()
    xid, bucket = committed(database), repositories.Bucket(database, "pgbackrest")
    with bucket.all_flipped(f"/{sets[-1]}/backup.manifest"):
        assert planned(case_of(tmp_path, target_xid=xid)).source.label == sets[-2]
        with pytest.raises(Refused, match=f"backup set {sets[-1]}: .*unable to load backup manifest") as refused:
            planned(case_of(tmp_path / "named", backup=sets[-1], target_xid=xid))
    assert "the repository is damaged: keep it as it is" in refused.value.hint
    told = [e.data["problem"] for e in journal.read(tmp_path / "wrong-turn" / "journal.jsonl") if e.kind == "finding"]
    assert [sets[-1] in str(problem) for problem in told] == [True]
    with (
        bucket.all_flipped("/backup.manifest"),
        pytest.raises(Refused, match=rf"no usable backup set.*; not usable: .*{sets[-2]}"),
    ):
        planned(case_of(tmp_path / "none", target_xid=xid))


@pytest.mark.parametrize("name", ["backup/lab/backup.info", "archive/lab/archive.info"])
def test_damaged_index_of_the_repository(database: TheDatabase, tmp_path: Path, name: str) -> None:
    """Without it, and its copy, pgBackRest knows of no set: nothing is begun, and asking again would not help."""
    bucket = repositories.Bucket(database, "pgbackrest")
    with bucket.all_flipped(name), pytest.raises(Refused, match=f"unable to load info file .*{name}") as refused:
        planned(case_of(tmp_path))
    assert "the repository is damaged" in refused.value.hint


def test_damaged_wal(database: TheDatabase, tmp_path: Path) -> None:
    """For PostgreSQL what cannot be unpacked is not there: it promotes before it, and says the same as at the end."""
    database.sql("select pg_switch_wal()")
    segments = []
    for _ in range(2):
        committed(database)
        segments.append(database.sql("select pg_walfile_name(pg_switch_wal())"))
    database.pgbackrest("check")
    case = case_of(tmp_path, way="full")
    planned(case)
    with repositories.Bucket(database, "pgbackrest").all_flipped(f"/{segments[0]}-"):
        for step in (database_restore.stop, database_restore.set_aside, database_restore.restore):
            step(case)
        with pytest.raises(NotRecovered, match=r"recovery ended in WAL segment \w{24}, .* WAL up to") as error:
            database_restore.recover(case)
    ended = error.value.problem.split()[5].rstrip(",")
    assert ended <= segments[0]
    assert case.clock_of("restored") is None


def test_set_of_a_future_that_was_given_up(database: TheDatabase, tmp_path: Path) -> None:
    """After a recovery the newest set may be of a timeline that was left: PostgreSQL refuses it, when it is down."""
    database.pgbackrest("--type=full", "backup")
    left = database.sets()[-1]
    database.rewind()
    plan = planned(case_of(tmp_path, target_xid=committed(database)))
    assert plan.source.label != left
    assert left in database.sets()
    with pytest.raises(Refused, match=f"no usable backup set {left}"):
        planned(case_of(tmp_path / "named", backup=left, target_xid=committed(database)))


def test_killed_soon_after_a_recovery(database: TheDatabase) -> None:
    """Nothing of the new timeline is archived yet, but all of what was given up is: PostgreSQL would read that, and say
    that it stopped as it was told. What was written since the first recovery is there, and what it gave up is not."""
    marker = "insert into markers_rows values ('{}', 0)"
    given_up = int(database.sql(f"begin; select pg_current_xact_id(); {marker.format('given up')}; commit"))
    recovered(database, recoveries.incident("first", target_xid=given_up))
    database.sql(marker.format("since"))
    database.on_host('kill -KILL "$(head -n 1 "$1/postmaster.pid")"', str(database.data))
    recovered(database, recoveries.incident("second"))
    assert database.sql("select id from markers_rows where id in ('given up', 'since')") == "since"


def recovered(database: TheDatabase, case: Case) -> None:
    database_symptoms.look(case)
    plan = database_plan.choose(case)
    assert str(plan.timeline) == timeline_of_wal(database)
    recoveries.run_phase(case)
    database_fence.open(case)


def timeline_of_wal(database: TheDatabase) -> str:
    """That of the newest segment, whatever pg_control says."""
    newest = database.on_host('ls "$1/pg_wal" | grep -E "^[0-9A-F]{24}$" | sort | tail -n 1', str(database.data))
    return str(int(newest[:8], 16))


@contextmanager
def copied(database: TheDatabase) -> Iterator[Path]:
    """A copy of the database that was started for a look, on a port of its own: its archiving is not switched off."""
    folder, port = database.folder() / "tmp" / "copy", str(int(database.port()) + 2)
    database.on_host('mkdir -m 700 "$1"', str(folder))
    database.pgbackrest(f"--pg1-path={folder}", "--type=immediate", "--target-action=promote", "restore")
    options = f"-c port={port} -c listen_addresses=''"
    push = f'pgbackrest --config={database.folder() / "pgbackrest.conf"} --stanza=lab --pg1-path="$PWD" archive-push %p'
    text = f"archive_mode = on\narchive_command = '{push}'\n"
    database.on_host('printf %s "$2" >>"$1/postgresql.auto.conf"', str(folder), text)
    start = '"$1" --pgdata="$2" --options="$3" --log="$2/log" --wait start >/dev/null'
    try:
        database.on_host(start, f"{database.programs}/pg_ctl", str(folder), options)
        yield folder
    finally:
        database.on_host('"$1" --pgdata="$2" --mode=immediate --wait stop >/dev/null; rm -rf "$2"',
                         f"{database.programs}/pg_ctl", str(folder))  # fmt: skip


def test_second_server_in_the_archive(database: TheDatabase, tmp_path: Path) -> None:
    """It is a newer timeline, which recovery would follow by default: the plan names ours, and somebody is told."""
    with copied(database):
        database.until(lambda: newest_timeline(tmp_path) > int(timeline(database)), "its history in the archive")
    plan = planned(case_of(tmp_path / "plan", target_xid=committed(database)))
    assert str(plan.timeline) == timeline(database)
    told = [e.data["check"] for e in journal.read(tmp_path / "plan" / "wrong-turn" / "journal.jsonl")
            if e.kind == "finding"]  # fmt: skip
    assert told == ["another timeline in the archive"]


def timeline(database: TheDatabase) -> str:
    return database.sql("checkpoint; select timeline_id from pg_control_checkpoint()")


def newest_timeline(folder: Path) -> int:
    with database_server.primary(case_of(folder / f"look-{now():%H%M%S%f}")) as postgres:
        return database_timelines.newest(postgres, database_backups.read(postgres))


def test_stanza_of_another_system(database: TheDatabase, tmp_path: Path) -> None:
    """Its files would be restored over ours: the system in the repository is compared with the pinned one."""
    pinned = sites.load("lab").databases[0].system_identifier
    data, config = database.folder() / "tmp" / "other", database.folder() / "tmp" / "other.conf"
    text = (database.folder() / "pgbackrest.conf").read_text().replace("[lab]", "[other]")
    text = text.replace(f"pg1-path={database.data}", f"pg1-path={data}")
    text = text.replace(f"pg1-port={database.port()}", f"pg1-port={int(database.port()) + 2}")
    database.on_host('umask 077; printf %s "$2" >"$1"', str(config), text)
    database.on_host(OTHER, database.programs, str(data), str(int(database.port()) + 2),
                     str(database.folder() / "run"), str(config))  # fmt: skip
    with (
        database.site(
            ('stanza = "lab"', 'stanza = "other"'), (f'"{database.folder()}/pgbackrest.conf"', f'"{config}"')
        ),
        pytest.raises(Refused, match=f"stanza other is of system .*the site file pins {pinned}"),
    ):
        planned(case_of(tmp_path, target_xid=committed(database)))
    database.on_host('rm -rf "$1" "$2"', str(data), str(config))


OTHER = """
programs=$1 data=$2 port=$3 socket=$4 config=$5
"$programs/initdb" --pgdata="$data" --no-sync --auth=trust >/dev/null
push="pgbackrest --config=$config --stanza=other archive-push %p"
"$programs/pg_ctl" --pgdata="$data" --log="$data/log" --wait start >/dev/null --options="-c port=$port \
  -c listen_addresses='' -c unix_socket_directories=$socket -c archive_mode=on -c archive_command='$push'"
pgbackrest --config="$config" --stanza=other stanza-create
pgbackrest --config="$config" --stanza=other --type=full backup
"$programs/pg_ctl" --pgdata="$data" --mode=immediate --wait stop >/dev/null
"""


def test_restore_into_a_running_server(database: TheDatabase, tmp_path: Path) -> None:
    """A service manager has started it again since: neither moved away nor written over, whatever the way is."""
    for way in ("full", "delta"):
        case = case_of(tmp_path / way, way=way)
        database_symptoms.look(case)
        database_plan.choose(case)
        for step in (database_restore.set_aside, database_restore.restore):
            with pytest.raises(NotRecovered, match="somebody has started PostgreSQL in"):
                step(case)
    assert database.is_in_good_order()


def test_directory_of_another_database(database: TheDatabase, tmp_path: Path) -> None:
    """What lies there is not the pinned system: it is not touched."""
    pinned = str(sites.load("lab").databases[0].system_identifier)
    case = case_of(tmp_path, way="full")
    database_symptoms.look(case)
    database_plan.choose(case)
    database.stop()
    case.site = case.site.model_copy(update={"databases": tuple(
        one.model_copy(update={"system_identifier": OTHERS}) for one in case.site.databases)})  # fmt: skip
    for step in (database_restore.set_aside, database_restore.restore):
        with pytest.raises(Refused, match=f"is system {pinned}, the site file pins {OTHERS}"):
            step(case)
    database.start()
    assert (database.data / "PG_VERSION").exists()


@pytest.mark.parametrize("told", ["2026-11-23 09:46:02", "2026-11-23T09:46:02"])
def test_time_without_a_zone(database: TheDatabase, told: str) -> None:
    """PostgreSQL takes it as the server's local time; a person at another place meant another hour."""
    done = database.dr("run", SCENARIO, "--site", "lab", "--mode", "incident", "--yes", "--no-server", "--dry-run",
                       "--with", f"target_time={told}")  # fmt: skip
    assert done.returncode == 3
    assert "zone" in done.stderr

"""A drill that harms nobody: all of it happens to a copy beside the database, which is removed; the original is proven.

The copy is a server of its own, with an archive of its own, so the same steps break it and bring it back. To promote
one, a second copy follows the first; the real standbys, and the name that clients ask, are left alone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from runbooks.database_ways import Way
from runbooks.errors import NotRecovered, RecoveryError
from runbooks.model import Instant, Model
from runbooks.records import Check, CheckStatus, RunKind, State, StoreLoss
from tasks import (
    database_archive,
    database_backups,
    database_copies,
    database_manifests,
    database_plan,
    database_server,
    database_state,
    database_timelines,
)
from tasks.cases import Case
from tasks.database_backups import BackupSet
from tasks.database_copies import Copy
from tasks.database_server import Postgres
from tasks.steps import step
from tasks.waits import NotYet, wait_until

LOOK = """select (pg_postmaster_start_time() at time zone 'UTC')::text, timeline_id, md5(pg_read_file(
    current_setting('hba_file'))) from pg_control_checkpoint()"""


class Original(Model):
    """What must be the same afterwards: since when it runs, on which timeline, and who may come in."""

    runs_since: str
    timeline: int
    access: str


FOLLOWS = """select count(*) from pg_stat_replication
    where state = 'streaming' and replay_lsn >= pg_current_wal_flush_lsn()"""
FETCH = 'cp "{0}/archive/%f" "%p" 2>/dev/null || cp "{0}/data/pg_wal/%f" "%p"'
"""Production's repository is asked no more: that would take seconds each time that the copy is stopped. What a copy has
written last is not archived any more, and need not have been streamed."""
FOLLOWS_WITHIN = timedelta(minutes=5)
NOT_TRIED = (
    "whether clients are led to a promoted standby: in a sandbox no name is moved",
    "whether the real standby could take over: in a sandbox the copy has one of its own",
)


class Made(Model):
    """The copy's place, and what the original was like when it was made. `standby`: the place of one that follows."""

    folder: str
    original: Original
    standby: str | None = None


@step
def make(case: Case) -> Made:
    """A copy runs beside, a primary of its own with all that the original had archived, and is as the original was.

    Changes: a folder beside the data directory; ends a WAL segment of the original: the copy has its newest rows then.
    Way promote: a second one in it, which follows the first.

    Raises:
        Refused: there is no room.
        NotRecovered: it could not be made, or is not as the original; the original was left alone.

    Its first WAL is in its archive: without that a recovery or a standby would take production's for its own.
    """
    with database_server.original(case) as postgres:
        copy = of(case, postgres)
        repository = database_timelines.leading(postgres, database_backups.read(postgres), look(postgres).timeline)
        chosen = database_manifests.choose(case, postgres, repository, before=None)
        segment = database_archive.switch(postgres)
        database_copies.make(case, copy, chosen.size_bytes)
        database_archive.wait_for(postgres, segment)
        _begin(case, copy, f"--set={chosen.label}", "--type=default")
        wait_until(
            lambda: _is_up(copy), within=case.within("restore"), what="the copy", otherwise=NotRecovered, hint=copy.log
        )
        copy.value("checkpoint; select 1")  # so that pg_control names the new timeline
        database_archive.wait_for(copy, database_archive.switch(copy))
        case.checks([_alike(case, copy)])
        case.must_be_green()
        case.note("application", name=case.application.name, target={"copy": copy.data}, way=f"in a copy: {copy.data}")
        follower = _follow(case, copy, chosen) if database_plan.options(case).way is Way.PROMOTE else None
        return Made(folder=copy.folder, original=look(postgres), standby=follower)


def _begin(case: Case, copy: Copy, *arguments: str) -> None:
    done = copy.pgbackrest(*arguments, "restore", within=case.within("restore"))
    if done.exit_code != 0:
        raise NotRecovered(f"the copy could not be restored: pgbackrest {done.how}: {done.said}", "see its log")
    copy.begin(within=case.within("restore"))


def _follow(case: Case, copy: Copy, chosen: BackupSet) -> str:
    """The folder of a standby of the copy, from the same set, that has streamed all that the copy has."""
    follower = standby(case, copy)
    database_copies.make(case, follower, chosen.size_bytes)
    _begin(case, follower, f"--set={chosen.label}", f"--target-timeline={look(copy).timeline}", "--type=standby")

    def look_at() -> bool | NotYet:
        follower.must_live()
        return True if copy.value(FOLLOWS) == "1" else NotYet("it does not stream, or is behind")

    wait_until(look_at, within=FOLLOWS_WITHIN, what="a standby of the copy", otherwise=NotRecovered, hint=follower.log)
    follower.sql(f"alter system set restore_command = '{FETCH.format(copy.folder)}'")
    follower.value("select pg_reload_conf()")
    case.note("checks", checks=[], weakly_checked=list(NOT_TRIED))
    return follower.folder


def _is_up(copy: Copy) -> bool | NotYet:
    copy.must_live()
    try:
        return True if copy.value("select pg_is_in_recovery()") == "f" else NotYet("it replays WAL")
    except RecoveryError as error:
        return NotYet(error.problem)


def of(case: Case, postgres: Postgres) -> Copy:
    return Copy(postgres, database_copies.folder(case, postgres), archives=True)


def standby(case: Case, postgres: Postgres) -> Copy:
    """Of the copy, or of the original's copy."""
    copy = postgres if isinstance(postgres, Copy) else of(case, postgres)
    return Copy(copy, database_copies.folder(case, copy), archives=True, follows=True)


def leading(case: Case, postgres: Postgres) -> Copy:
    """The copy; its standby, once that is promoted."""
    promoted = case.recorded("database_promotion.promote")
    has_changed = promoted is not None and promoted["evidence"] is not None
    return standby(case, postgres) if has_changed else of(case, postgres)


def look(postgres: Postgres) -> Original:
    [[since, timeline, access]] = postgres.sql(LOOK)
    return Original(runs_since=since, timeline=int(timeline), access=access)


def _alike(case: Case, postgres: Postgres) -> Check:
    """The rows that were recorded before are there, unchanged."""
    recorded = case.load("before", State).rows
    differing = [b.store for b in recorded if database_state.after(case, postgres, b).tables != b.tables]
    return Check(
        name="the copy is as the original", expected="the rows recorded before", observed=", ".join(differing) or
        "the rows recorded before", status=CheckStatus.FAILED if differing else CheckStatus.PASSED,
    )  # fmt: skip


@step
def prove_original(case: Case) -> None:
    """The original was neither restarted nor fenced, is on its timeline, and has its rows (all green: validated).

    Raises:
        NotRecovered: it is not as it was; a sandbox that harms the original is none.
    """
    _prove(case)
    case.must_be_green()
    case.clock("validated")


@step
def count_loss(case: Case) -> tuple[StoreLoss, ...]:
    """How much would be missing had the database been lost: from `declared` back to the newest marker in the copy."""
    plan, declared = database_plan.of(case), case.clock("declared")
    bound = (declared - plan.source.started_at).total_seconds()
    newest = _newest(case)
    lost = None if newest is None else max((declared - newest).total_seconds(), 0)
    names = [m.store for m in case.application.markers if m.store.startswith("rows:")]
    stores = tuple(
        StoreLoss(name=n, rpo_seconds=lost, bound_seconds=bound, lost=None, given_up=None, backup=plan.source.summary())
        for n in names
    )
    case.note("stores", stores=[s.model_dump(mode="json") for s in stores])
    return stores


def _newest(case: Case) -> Instant | None:
    """By the site's own question of the daily restore test."""
    test = database_server.database_of(case).restore_test
    if test is None or test.newest is None:
        case.note("unknown", what="the newest marker in the copy: the site has no restore_test.newest")
        return None
    with database_server.primary(case) as copy:
        said = copy.value(f"set timezone = 'UTC'; {test.newest}", database=copy.database.database)
    try:
        found = datetime.fromisoformat(said)
    except ValueError:
        case.note("unknown", what=f"the newest marker in the copy: {said!r}")
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def was_begun(case: Case) -> bool:
    return case.kind is RunKind.SANDBOX and any(e.step == "database_sandbox.make" for e in case.journal.of("intent"))


def remove(case: Case) -> None:
    """The copy is stopped, and its folder gone."""
    with database_server.original(case) as postgres:
        database_copies.remove(of(case, postgres))


def look_again(case: Case) -> None:
    """The original is as it was, now that the copy is gone, too. Raises: NotRecovered: it is not."""
    if case.recorded("database_sandbox.make") is not None:
        _prove(case)
        case.must_be_green()


def _prove(case: Case) -> None:
    recorded = case.recorded("database_sandbox.make")
    assert recorded is not None
    before = Made.model_validate(recorded["evidence"]).original
    with database_server.original(case) as postgres:
        after = look(postgres)
        case.checks(
            [
                _same("original runs since", before.runs_since, after.runs_since),
                _same("original's timeline", str(before.timeline), str(after.timeline)),
                _same("original's pg_hba.conf", before.access, after.access),
                _alike(case, postgres).model_copy(update={"name": "original's rows"}),
            ]
        )


def _same(name: str, before: str, after: str) -> Check:
    status = CheckStatus.PASSED if before == after else CheckStatus.FAILED
    return Check(name=name, expected=before, observed=after, status=status)

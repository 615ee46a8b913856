"""Which way back, from which backup set, at what loss: shown, and agreed to, before anything stops."""

from __future__ import annotations

from datetime import timedelta

from runbooks import wal
from runbooks.database_ways import WAYS, Option, Options, Target, Way
from runbooks.errors import NotRecovered, Refused, Unavailable
from runbooks.model import Model, now, rfc3339, spell
from runbooks.records import RunKind, Severity
from tasks import (
    approvals,
    database_backups,
    database_candidates,
    database_culprits,
    database_manifests,
    database_rows,
    database_salvage,
    database_server,
    database_symptoms,
    database_targets,
    database_timelines,
    database_wal,
    probes,
)
from tasks.cases import Case
from tasks.database_backups import BackupSet
from tasks.database_candidates import Candidate
from tasks.database_server import Postgres
from tasks.database_symptoms import Found
from tasks.database_timelines import Past
from tasks.steps import step

BYTES_A_SECOND = 60_000_000
"""What a restore usually makes of one process; the report shows what it really was."""
PROMOTES_SECONDS = 15


class Plan(Model):
    way: Way
    backup: BackupSet | None
    """None: the repository does not answer, and a standby is promoted without it."""
    target: Target
    past: Past | None
    """Of the timeline that is followed. None: nobody could tell."""
    segment_bytes: int = wal.SEGMENT_BYTES
    table: str | None
    standby: str | None = None
    """The one that is promoted."""
    may_lose_seconds: float = 0
    """Of what was acknowledged before the fault."""

    @property
    def timeline(self) -> int | None:
        return None if self.past is None else self.past.timeline

    @property
    def source(self) -> BackupSet:
        """Raises: Refused: this plan needs no backup set."""
        if self.backup is None:
            raise Refused("the plan has no backup set", "only a promotion goes without; this is a defect")
        return self.backup


def options(case: Case) -> Options:
    return Options.model_validate(case.request.options)


@step
def expect(case: Case) -> None:
    """A drill's plan: what it will do, which way back the diagnosis will find, and what may be lost.

    Raises:
        Refused: no usable backup set.
    """
    given = options(case)
    way = given.way or WAYS[given.damage][0]
    with database_server.primary(case) as postgres:
        repository = database_timelines.leading(postgres, database_backups.read(postgres), None)
        chosen = database_manifests.choose(case, postgres, repository, before=None)
        bound = _unarchived_seconds(postgres)
    case.note(
        "plan", backup=chosen.label, way=way.value, why=f"drill: {given.damage}",
        age_seconds=chosen.summary()["age_seconds"], bound_seconds=bound, rejected=[],
    )  # fmt: skip


def _unarchived_seconds(postgres: Postgres) -> float:
    """The age of the newest archived WAL: what is younger is lost with the host, unless a standby has it."""
    said = postgres.value("select coalesce(extract(epoch from clock_timestamp() - last_archived_time), -1) "
                          "from pg_stat_archiver")  # fmt: skip
    if float(said) < 0:
        raise Refused("nothing was ever archived", "see pgbackrest check; is archive_mode on?")
    return round(float(said), 1)


@step
def choose(case: Case) -> Plan:
    """The way that fits what was found, or that a person named; the others are listed with what speaks against them.

    Raises:
        Refused: nothing is wrong; no way is possible; the target is not between a backup set and the last commit.
    """
    given, found = options(case), database_symptoms.of(case)
    with database_server.primary(case) as postgres:
        target = _target(case, postgres, given, found)
        past, chosen = _source(case, postgres, given, found, target)
        if given.table is not None and found.answers:
            database_rows.must_be_mergeable(postgres, given.table)
            for told in database_rows.warnings(postgres, given.table):
                case.event(f"WARNING: {told}")
    ways = [*_ways(found, target, chosen, given), _promotion(case, found, target)]
    way = given.way or _quick_enough(case, _fitting(found, target), ways)
    _must_be_possible(way, ways)
    if way is Way.TABLE:
        _must_be_one_transaction(target)
    plan = Plan(
        way=way, backup=chosen, target=target if way in (Way.POINT_IN_TIME, Way.TABLE) else Target(),
        past=past, segment_bytes=found.segment_bytes, table=given.table,
        standby=_healthy(found)[0].host if way is Way.PROMOTE else None,
        may_lose_seconds=0 if found.has_wal or target.kind else case.objectives.rpo.total_seconds(),
    )  # fmt: skip
    since = case.request.fault_at or target.committed_at or probes.fault(case)
    if not case.is_drill and since is not None:
        case.clock("fault", since)
    _note(case, plan, ways, found)
    if plan.backup is not None:
        case.save("backup", plan.backup)
    return plan


def _source(
    case: Case, postgres: Postgres, given: Options, found: Found, target: Target
) -> tuple[Past | None, BackupSet | None]:
    """The timeline to follow, and the backup set to begin with; a promotion that was asked for needs none."""
    try:
        return _from_repository(case, postgres, found, target)
    except (Unavailable, Refused, NotRecovered) as error:
        if given.way is Way.PROMOTE:
            case.event(f"WARNING: {error.problem}; a promotion needs no backup")
            return (None if found.timeline is None else Past(timeline=found.timeline, forks=())), None
        if target.kind is None and _healthy(found):
            hint = f"{error.hint}; {_healthy(found)[0].host} can take over without it: --with way=promote"
            raise type(error)(error.problem, hint) from error
        raise


def _from_repository(case: Case, postgres: Postgres, found: Found, target: Target) -> tuple[Past, BackupSet]:
    repository = database_backups.read(postgres)
    past = database_timelines.past(postgres, repository, found.timeline)
    _tell_of_others(case, past, database_timelines.newest(postgres, repository))
    position = target.value if target.kind == "lsn" else None
    repository = database_timelines.within(repository, past, before=position)
    chosen = database_manifests.choose(case, postgres, repository, before=target.at)
    held = database_salvage.within_reach(case, postgres)
    database_wal.must_have_no_gap(
        postgres, repository, chosen, past, held=held, before=position, size=found.segment_bytes
    )
    return past, chosen


def _target(case: Case, postgres: Postgres, given: Options, found: Found) -> Target:
    """For one table a time means the one transaction that has changed it since."""
    if given.way is Way.TABLE and given.target_time is not None and found.answers:
        return database_culprits.find(postgres, str(given.table), given.target_time)
    return database_targets.find(case, postgres, given, found, _wrong_transaction(case))


def _tell_of_others(case: Case, past: Past, newest: int) -> None:
    """The plan names its timeline, so theirs is not followed; somebody should know all the same."""
    if newest > past.timeline:
        case.finding(
            "another timeline in the archive", case.application.name, Severity.YELLOW,
            f"the archive holds timeline {newest}, the database is on {past.timeline}",
            "another server archives into this stanza, or a recovery was given up: see archive_command of its copies",
        )  # fmt: skip


def _wrong_transaction(case: Case) -> int | None:
    """The one by which this drill did its damage."""
    recorded = case.recorded("database_disasters.damage") or case.recorded("database_disasters.damage_copy")
    return None if recorded is None else recorded["evidence"]["xid"]


def _ways(found: Found, target: Target, chosen: BackupSet | None, given: Options) -> list[Option]:
    if chosen is None:
        ways = (way for way in Way if way is not Way.PROMOTE)
        return [Option(way=way, eta_seconds=0, is_possible=False, why="there is no usable backup set") for way in ways]
    seconds = chosen.size_bytes / BYTES_A_SECOND
    is_wrong, is_corrupt = target.kind is not None, bool(found.corrupt)
    rest = "nothing" if found.has_wal else "what was neither archived nor received by a standby"
    outside = "its tablespaces lie outside of its directory, and are not set aside" if found.has_tablespaces else ""
    since = spell(timedelta(seconds=round(_since(target)))) if target.at is not None else "some time"
    return [
        Option(way=Way.DELTA, eta_seconds=round(seconds * 0.3 + 10), is_possible=found.has_files and not is_wrong,
               why="restores in place what differs from the backup" if is_corrupt else "no corrupt page was found",
               loses=rest),
        Option(way=Way.FULL, eta_seconds=round(seconds + 10), is_possible=not is_wrong and not found.has_tablespaces,
               why="brings wrong data back as it is" if is_wrong else outside or "all files anew, then all WAL",
               loses=rest),
        Option(way=Way.POINT_IN_TIME, eta_seconds=round(seconds + 15),
               is_possible=is_wrong and not found.has_tablespaces,
               why=outside or "all files anew, then the WAL up to the target" if is_wrong else "no target was given",
               loses=f"all that was committed in the {since} since" if is_wrong else "nothing"),
        Option(way=Way.TABLE, eta_seconds=round(seconds + 20),
               is_possible=is_wrong and given.table is not None and found.answers,
               why=_of_table(given, found) if is_wrong else "no target was given"),
    ]  # fmt: skip


def _since(target: Target) -> float:
    """Seconds from the target to now."""
    return 0.0 if target.at is None else max((now() - target.at).total_seconds(), 0)


def _of_table(given: Options, found: Found) -> str:
    if given.table is None:
        return "no table was named"
    if not found.answers:
        return "the database does not answer"
    return (
        f"undoes in {given.table} what that transaction did, by primary key: what it deleted is inserted, what it "
        "changed is set back, what it inserted is removed; rows that somebody has written since stay as they are; "
        "the service stays up"
    )


def _healthy(found: Found) -> list[Candidate]:
    """The standbys that may be promoted, the one that has most first."""
    healthy = [one for one in found.standbys if one.problem is None]
    return sorted(healthy, key=lambda one: one.behind_bytes or 0)


def _promotion(case: Case, found: Found, target: Target) -> Option:
    """Possible or not, and why."""
    healthy, is_sandbox = _healthy(found), case.kind is RunKind.SANDBOX
    if target.kind is not None:
        why = "a wrong statement is replayed there, too: the standbys hold the same wrong data"
    elif not found.standbys:
        why = "there is no standby" + ("; with way=promote the copy is given one" if is_sandbox else "")
    elif not healthy:
        why = "; ".join(one.told for one in found.standbys)
    else:
        why = database_candidates.obstacle(case, database_server.database_of(case), healthy[0].host) or ""
    then = "no name is moved in a sandbox" if is_sandbox else "the old primary is fenced and made anew behind it"
    told = why or f"{healthy[0].told}; {then}"
    return Option(way=Way.PROMOTE, eta_seconds=PROMOTES_SECONDS, is_possible=not why, why=told)


def _quick_enough(case: Case, fitting: Way, ways: list[Option]) -> Way:
    """When the files would take longer than there is time, and a healthy standby has them, it is promoted."""
    by_way = {one.way: one for one in ways}
    late = timedelta(seconds=by_way[fitting].eta_seconds or 0) > case.document.budget("restore")
    return Way.PROMOTE if late and by_way[Way.PROMOTE].is_possible else fitting


def _fitting(found: Found, target: Target) -> Way:
    if target.kind is not None:
        return Way.POINT_IN_TIME
    if not found.has_files or not found.has_wal:
        return Way.FULL
    if found.corrupt:
        return Way.DELTA
    if not found.answers:
        return Way.FULL
    raise Refused(
        "nothing is wrong with the database: it answers, and every page of every table can be read",
        "if its data is wrong, say from when: --with target_time=…, target_xid=… or restore_point=…",
    )


def _must_be_one_transaction(target: Target) -> None:
    """Only then is it known what it did to the table, and what others have written since."""
    if target.kind != "xid":
        raise Refused(
            f"way=table undoes one transaction; the target is {target.kind} {target.value}",
            "name it: --with target_xid=…, or target_time=… of a moment shortly before it",
        )


def _must_be_possible(way: Way, ways: list[Option]) -> None:
    [mine] = [one for one in ways if one.way is way]
    if not mine.is_possible:
        possible = ", ".join(one.way.value for one in ways if one.is_possible) or "none"
        raise Refused(f"way {way} does not fit what was found: {mine.why}", f"possible: {possible}")


def _note(case: Case, plan: Plan, ways: list[Option], found: Found) -> None:
    case.note("application", name=case.application.name, way=plan.way.value)
    source = f"backup {plan.backup.label}" if plan.way is not Way.PROMOTE and plan.backup else f"standby {plan.standby}"
    case.event(f"way {plan.way} from {source}, because {found.told}")
    for o in ways:
        case.event(f"  {o.way}: {'possible' if o.is_possible else 'no'}, about {o.eta_seconds:.0f} s, {o.why}")
    if not any(True for _ in case.journal.of("plan")):
        broke, backup = probes.fault(case), plan.backup
        given_up = _since(plan.target)
        case.note(
            "plan", backup=backup.label if backup else None, way=plan.way.value, why=found.told, standby=plan.standby,
            database=_where(case), expected_loss=_expected_loss(case, plan),
            target=plan.target.model_dump(mode="json"), given_up_seconds=given_up,
            age_seconds=backup.summary()["age_seconds"] if backup else None, fault=rfc3339(broke) if broke else None,
            bound_seconds=plan.may_lose_seconds,
            ways=[o.model_dump(mode="json") for o in ways], rejected=[],
        )  # fmt: skip
    budget = case.document.budget("restore")
    eta = next(o.eta_seconds for o in ways if o.way is plan.way) or 0
    if timedelta(seconds=eta) > budget:
        case.event(f"WARNING: it may take {eta:.0f} s, longer than the budget of {spell(budget)}")


def _where(case: Case) -> str:
    database = database_server.database_of(case)
    assert database.server is not None
    return f"{database.name} on {database.server.host}"


def _expected_loss(case: Case, plan: Plan) -> dict[str, float]:
    """Of each store, of what was acknowledged before the fault."""
    return {m.store: plan.may_lose_seconds for m in case.application.markers if m.store.startswith("rows:")}


@step
def agree(case: Case) -> None:
    """A named person agreed to the plan of an incident, where the site asks for one; nothing has stopped yet.

    Raises:
        Refused: the person said no, or nobody answered in time.
        DryRunEnded: a dry run ends here.
    """
    approvals.of_a_person(case)
    case.clock("decided")


def of(case: Case) -> Plan:
    """The plan that this run has chosen. Raises: Refused: none yet."""
    recorded = case.recorded("database_plan.choose")
    if recorded is None:
        raise Refused(f"run {case.run_id} has no plan yet", "it is made by the diagnosis")
    return Plan.model_validate(recorded["evidence"])

"""Brings files back from restic: restored beside, proven, then put in their places by renaming."""

from __future__ import annotations

from datetime import datetime

from runbooks.compare import Comparison
from runbooks.compare import trees as comparing
from runbooks.compare.trees import Damage
from runbooks.errors import NotRecovered, Refused, Unavailable
from runbooks.file_sets import FileSet
from runbooks.model import Model, now
from runbooks.records import Check, CheckStatus, Impact, StoreLoss
from runbooks.snapshots import Choice, Snapshot, choose
from runbooks.trees import Node, Tree, size_bytes, within
from tasks import file_hosts, file_plans, host_places, open_incidents, preconditions, probes
from tasks.cases import Case
from tasks.file_plans import MOST_INCLUDED, Planned, TreeRecord, Wanted, Way
from tasks.file_records import Records, SnapshotRecord, incomplete, must_be_known
from tasks.host_places import Standing
from tasks.host_trees import Host
from tasks.restic import Repository
from tasks.steps import step


class Brought(Model):
    """How much was brought back, and where what stood there lies now."""

    places: int
    kept: tuple[str, ...] = ()


def set_of(case: Case) -> FileSet:
    return file_plans.set_of(case.site, case.application, _wanted(case))


def _wanted(case: Case) -> Wanted:
    return Wanted.model_validate(case.request.options)


def planned(case: Case) -> Planned:
    return case.load("backup", Planned)


@step
def check(case: Case) -> None:
    """The files are known, and a drill is allowed.

    Raises:
        Refused: something does not hold; nothing was changed.
    """
    of = set_of(case)
    file_plans.asked(of, _wanted(case).path)
    if not case.is_drill:
        if not case.attempt.dry_run:
            open_incidents.declare(case)
        return
    if case.impact is Impact.REAL:
        raise Refused(
            "a real drill of file-restore is not made: it would delete files that are needed",
            "start it with --impact sandbox: it restores beside the original and compares",
        )
    preconditions.must_be_allowed(case)
    preconditions.must_be_green(case)


@step
def record_before(case: Case) -> None:
    """What is there now is written down, by size, owner, rights and time; no file is read."""
    of = set_of(case)
    with file_hosts.connect(case.site, of) as repository:
        case.note("tools", restic=repository.version())
        live = file_hosts.host_of(repository).tree(of.paths)
    case.save("before", TreeRecord(store=of.store, taken_at=now(), nodes=file_plans.listed(live)))


@step
def choose_snapshot(case: Case) -> str:
    """The snapshot, and what is going to be done with it, are chosen and written down (the plan).

    Raises:
        Refused: no snapshot is usable; nothing is missing or damaged; it does not fit on the disk.
    """
    of = set_of(case)
    with file_hosts.connect(case.site, of) as repository:
        choice, record = _chosen(case, repository)
        made, found = _planned(case, repository, choice, record)
        for root in made.roots(of):
            _must_fit(file_hosts.host_of(repository), root, made)
    case.save("backup", made)
    _note_plan(case, made, choice, found)
    return made.snapshot.id


def _chosen(case: Case, repository: Repository) -> tuple[Choice, SnapshotRecord | None]:
    """An evidence store that is away does not stop an incident: then less is known of the snapshots."""
    of, snapshots = repository.of, repository.snapshots()
    broken = _recorded_as_broken(case, repository, snapshots)
    before = _fault(case)
    choice = choose(snapshots, of, before=before, incomplete=broken or (), named=case.request.backup)
    record = None if broken is None else Records(case.site, of).snapshot(choice.snapshot)
    if record is None:
        case.note("unknown", what=f"what the files of snapshot {choice.snapshot.short} held: nobody recorded it")
    return choice, record


def _fault(case: Case) -> datetime | None:
    """When it broke, if that is known: recorded once. A drill of these files breaks nothing."""
    if case.is_drill:
        return None
    found = probes.fault(case)
    return None if found is None else case.clock("fault", found)


def _recorded_as_broken(case: Case, repository: Repository, snapshots: tuple[Snapshot, ...]) -> tuple[str, ...] | None:
    """Those known to be incomplete; None: the evidence store is away."""
    records = Records(case.site, repository.of)
    try:
        must_be_known(records.repository(), repository.identity(), repository.of)
        return incomplete(records, snapshots)
    except Unavailable as error:
        if case.is_drill:
            raise
        case.note("unknown", what=f"which snapshots are complete: {error.problem}")
        return None


def _planned(
    case: Case, repository: Repository, choice: Choice, record: SnapshotRecord | None
) -> tuple[Planned, Damage]:
    of, host = repository.of, file_hosts.host_of(repository)
    asked = file_plans.asked(of, _wanted(case).path)
    listing = repository.listing(choice.snapshot)
    holds = {path: node for one in asked for path, node in within(listing, one).items()}
    if absent := [one for one in asked if one not in holds]:
        raise Refused(
            f"snapshot {choice.snapshot.short} of {of.store} does not hold {absent[0]}",
            "is it written as it was? an older or newer snapshot may have it (--backup)",
        )
    fault = _fault(case)
    found = comparing.damage(holds, host.tree(asked), taken_at=choice.snapshot.time, fault=fault)
    if not case.is_drill:
        file_plans.must_be_worth_it(found, of, choice.snapshot)
    way = file_plans.way(found, sandbox=case.is_drill)
    places = file_plans.places(found, asked, way)
    made = Planned(
        file_set=of.name,
        asked=asked,
        snapshot=choice.snapshot,
        holds=TreeRecord(store=of.store, taken_at=choice.snapshot.time, nodes=file_plans.listed(holds)),
        contents={p: c for p, c in (record.contents if record else {}).items() if p in holds},
        way=way,
        places=places,
        bytes=sum(size_bytes(within(holds, place)) for place in places),
    )
    return made, found


def _must_fit(host: Host, root: str, made: Planned) -> None:
    """Beside the root there is room, and what is restored there can be renamed into its place."""
    above = host_places.above(root)
    file_plans.must_fit(made, host.room(above).bytes)
    if made.way is not Way.BESIDE and host.tree([root]) and host.device(root) != host.device(above):
        raise Refused(
            f"{root} is a file system of its own, so nothing beside it can be renamed into it; nothing was changed",
            "let the set's paths be folders in it",
        )


def _note_plan(case: Case, made: Planned, choice: Choice, found: Damage) -> None:
    if any(True for _ in case.journal.of("plan")):
        return
    told = file_plans.told(made, choice, found, fault=_fault(case), started=case.journal.entries[0].at, now=now())
    case.note("plan", **told)
    target = {"host": set_of(case).host, "paths": list(made.asked), "snapshot": made.snapshot.id}
    case.note("application", name=case.application.name, target=target, way=made.way.value)


@step
def restore_beside(case: Case) -> None:
    """All that is going to be placed lies beside, each file's content verified by restic; the original is untouched.

    Changes: a folder of the run beside each root of the set.

    Raises:
        Refused: there is no room.
        Unavailable, NotRecovered: restic did not restore it; nothing else was changed.
    """
    of, made = set_of(case), planned(case)
    with file_hosts.connect(case.site, of) as repository:
        for root, places in made.roots(of).items():
            _restore(case, repository, root, places)
    if made.way is Way.BESIDE:
        case.clock("restored")


def _restore(case: Case, repository: Repository, root: str, places: tuple[str, ...]) -> None:
    host, made = file_hosts.host_of(repository), planned(case)
    folder = host_places.workspace(root, case.run_id)
    case.write(f"restore {len(places)} paths of {repository.of.store} into {folder}", host=repository.of.host)
    host_places.make(host, folder, case.run_id)
    if host_places.is_whole(host, folder, made.snapshot.id):
        return
    host_places.begin_anew(host, folder)
    _must_fit(host, root, made)
    only = _included(made, root, places)
    target = host_places.restored_in(folder)
    repository.restore(made.snapshot, target=target, only=only, within=case.within("restore"))
    host_places.note_whole(host, folder, made.snapshot.id)


def _included(made: Planned, root: str, places: tuple[str, ...]) -> tuple[str, ...]:
    """By name where restic can be told the names: not too many, and each of them UTF-8."""
    if len(places) <= MOST_INCLUDED and not any("\ufffd" in place for place in places):
        return places
    return tuple(path for path in made.asked if path == root or path.startswith(f"{root}/"))


@step
def compare_beside(case: Case) -> int:
    """What was restored beside is what the snapshot holds: kind, size, rights, owner, time, content. How much it was.

    Raises:
        NotRecovered: it is not; the original is as it was.
    """
    of, made = set_of(case), planned(case)
    after: dict[str, Node] = {}
    sums: dict[str, str] = {}
    with file_hosts.connect(case.site, of) as repository:
        host = file_hosts.host_of(repository)
        for root, places in made.roots(of).items():
            below = host_places.restored_in(host_places.workspace(root, case.run_id))
            found = _only(host.tree([root], below=below), places)
            after |= found
            sums |= host.sums(found, below=below)
    return _compared(case, "restored beside", after, sums, since=None)


def _only(tree: Tree, places: tuple[str, ...]) -> dict[str, Node]:
    return {path: node for place in places for path, node in within(tree, place).items()}


def _compared(case: Case, what: str, after: Tree, sums: dict[str, str], *, since: datetime | None) -> int:
    made = planned(case)
    store = f"files:{made.file_set}"
    found = comparing.restored(made.expected(), made.contents, after, sums, store=store, since=since)
    case.save("after", TreeRecord(store=store, taken_at=now(), nodes=file_plans.listed(after)))
    _note(case, f"files of {store} {what}", f"as in snapshot {made.snapshot.short}", found)
    case.must_be_green()
    return found.compared


def _note(case: Case, name: str, expected: str, found: Comparison) -> None:
    """One check for the whole, and one for each difference."""
    count = len(found.differences)
    is_green = count == 0 and found.compared > 0
    status = CheckStatus.PASSED if is_green else CheckStatus.FAILED
    whole = Check(name=name, expected=expected, observed=f"{found.compared} compared, {count} different", status=status)
    named = [
        Check(name=d.where, expected=d.expected, observed=d.observed, status=CheckStatus.FAILED)
        for d in found.differences
    ]
    case.checks([whole, *named], list(found.weakly_checked))


@step
def put_in_place(case: Case) -> Brought:
    """Everything is in its place (clock `restored`); what stood there is set aside, and named in the report.

    Changes: renames, in the set and beside it. Overwrites and deletes nothing.

    Raises:
        NotRecovered: something is not in its place; the report says where it lies.
    """
    of, made = set_of(case), planned(case)
    standing = Standing.ASIDE if made.way is Way.REPLACE else Standing.REFUSED
    kept: list[str] = []
    with file_hosts.connect(case.site, of) as repository:
        host = file_hosts.host_of(repository)
        for root, places in made.roots(of).items():
            folder = host_places.workspace(root, case.run_id)
            host_places.keep_places(host, folder, _raw(host, root, folder, places))
            case.write(f"put {len(places)} things of {of.store} in their places", host=of.host, root=root)
            host_places.place(host, root, folder, standing)
            kept += [f"{of.host}:{path}" for path in host_places.kept(host, folder)]
    case.clock("restored")
    case.note("application", name=case.application.name, kept=kept)
    return Brought(places=len(made.places), kept=tuple(kept))


def _raw(host: Host, root: str, folder: str, places: tuple[str, ...]) -> list[bytes]:
    """The names as the host spells them."""
    below = host_places.restored_in(folder)
    tree = host.tree([root], below=below)
    nodes = [tree[place] for place in places if place in tree]
    return [node.raw.removeprefix(below.encode()) for node in nodes if node.raw is not None]


@step
def compare_in_place(case: Case) -> int:
    """What is in its place now is what the snapshot holds; what was written since is the application's own work.

    Raises:
        NotRecovered: it is not.
    """
    of, made = set_of(case), planned(case)
    with file_hosts.connect(case.site, of) as repository:
        host = file_hosts.host_of(repository)
        after = host.tree(made.places)
        sums = host.sums(after)
    return _compared(case, "in place", after, sums, since=_placing_began(case))


def _placing_began(case: Case) -> datetime:
    """The application may write as soon as a thing is in its place."""
    return next(e.at for e in case.journal.of("write") if e.step == "file_returns.put_in_place")


@step
def ask_outside(case: Case) -> None:
    """Clients get right answers, and every check is green (clock `validated`).

    Raises:
        NotRecovered: something is not.
    """
    if case.application.probes:
        case.checks(probes.ask_outside(case))
    case.must_be_green()
    case.clock("validated")


@step
def count_loss(case: Case) -> StoreLoss:
    """What was written since the snapshot may be lost: that bounds the loss of what was brought back."""
    made = planned(case)
    reference = _fault(case) or case.journal.entries[0].at
    loss = StoreLoss(
        name=f"files:{made.file_set}",
        rpo_seconds=None,
        bound_seconds=(reference - made.snapshot.time).total_seconds(),
        lost=None,
        given_up=None,
        backup=made.snapshot.summary(now()),
    )
    case.note("stores", stores=[loss.model_dump(mode="json")])
    return loss


def put_away(case: Case, *, recovered: bool) -> None:
    """Nothing of the run lies beside the set but what was set aside.

    Raises:
        NotRecovered: it did not recover, so what was restored is kept there for a person to look at.
    """
    if case.recorded("file_returns.choose_snapshot") is None:
        return
    of, made = set_of(case), planned(case)
    folders = {root: host_places.workspace(root, case.run_id) for root in made.roots(of)}
    if not recovered and case.has_changed_target():
        raise NotRecovered(
            f"what was restored of {of.store} is kept: {', '.join(f'{of.host}:{f}' for f in folders.values())}",
            "look at it, take what is needed, then remove these folders",
        )
    with file_hosts.connect(case.site, of) as repository:
        for folder in folders.values():
            host_places.put_away(file_hosts.host_of(repository), folder, case.run_id)

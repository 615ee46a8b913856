"""One run at a time on an application: a Lease in its cluster, and an object in the evidence store.

Both, since each may be what the disaster took: the Lease ends by itself when the runner dies, the object outlives the
cluster. An application without a cluster has the object alone, which then is renewed like a lease. Prefect's
concurrency limits are no lock: they do not know of a run that was started without Prefect.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from runbooks.errors import RecoveryError, Refused, Unavailable
from runbooks.model import Instant, Model, now
from runbooks.site import Region, Site
from tasks import evidence, leases, object_store
from tasks.cases import Case
from tasks.steps import every_attempt
from tasks.stored import Changed, Exists, Object, Store


class Held(Model):
    """What lies in the evidence store while a run holds the lock; `run_id` null: released."""

    run_id: str | None
    host: str
    pid: int
    began: int | None
    at: Instant

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def lives_here(self) -> bool:
        return self.is_here and self.began is not None and self.began == _began(self.pid)

    @property
    def is_me(self) -> bool:
        return self.lives_here and self.pid == os.getpid()


def key(site: Site, application: str) -> str:
    return f"locks/{site.name}/{application}.json"


def must_be_alone(site: Site, application: str, run_id: str, *, take_over: bool) -> str | None:
    """No other process executes this run, on whatever host. Reads only: a start that is refused leaves no trace.

    Returns the version of the lock that a process of this run, now dead, has left. A store that does not answer says
    nothing: `acquire` judges that.

    Raises:
        Refused: one does, or nobody knows and --take-over was not given.
    """
    try:
        found = _found(site, application)
    except RecoveryError:
        return None
    if found is None:
        return None
    held = Held.model_validate_json(found.body)
    if held.run_id != run_id or held.is_me:
        return None
    _must_be_gone(site, application, held, found.etag, take_over=take_over)
    return found.etag


def _must_be_gone(site: Site, application: str, held: Held, version: str, *, take_over: bool) -> None:
    """The process that executed this run before has ended: here /proc says so, elsewhere its lease is watched."""
    who, trace = f"process {held.pid} of host {held.host}", "this start wrote nothing"
    if held.lives_here:
        problem = f"run {held.run_id} is being executed by {who}"
        raise Refused(problem, f"wait for it, or end that process first; {trace}")
    if held.is_here:
        return
    try:
        lives = _is_renewed(site.region(site.application(application).home), site, application, held, version)
    except Unavailable as error:
        if take_over:
            return
        raise Refused(
            f"run {held.run_id} was last executed by {who}, and what knows whether it lives does not answer",
            f"when that process is proven dead, add --take-over; {trace}",
        ) from error
    if lives:
        problem = f"run {held.run_id} is being executed by {who}: it renews its lease"
        raise Refused(problem, f"wait for it, or end it there; {trace}")


def _is_renewed(region: Region, site: Site, application: str, held: Held, version: str) -> bool:
    """Does a holder on another host live? Raises: Unavailable: what would say so does not answer."""
    if region.cluster is None:
        return leases.is_moving(lambda: _version(site, application), version)
    lease = leases.holder(region.cluster, application)
    return lease is not None and lease.run_id == held.run_id and leases.is_renewed(region.cluster, application, lease)


@every_attempt
def acquire(case: Case) -> None:
    """This run holds the lock, or goes on holding it. An incident does with the Lease alone when the store is away.

    Raises:
        Unavailable: the API server does not answer: then it is another disaster.
        Refused: another run holds it and is alive, or is dead and --take-over was not given.
    """
    name = case.application.name
    lease = None if case.region.cluster is None else _lease(case)
    if case.attempt.dry_run:
        return
    if case.region.cluster is None:
        _hold_object(case, None)
        case.lease = leases.Renewal(lambda: _renew(case), lambda: None)
        return
    alive = _lease_is_alive(case, lease)
    if lease is not None:
        _may_take_over(case, lease.run_id, "its lease is being renewed" if alive else None)
    if case.is_drill or _store_answers(case):
        _hold_object(case, alive)
    case.lease = leases.hold(case.cluster, name, case.run_id)


def _store_answers(case: Case) -> bool:
    try:
        _found(case.site, case.application.name)
    except RecoveryError as error:
        case.note("unknown", what=f"whether the evidence store knows of another run: {error.problem}")
        return False
    return True


def _lease(case: Case) -> leases.Holder | None:
    try:
        return leases.holder(case.cluster, case.application.name)
    except Unavailable as error:
        if case.is_drill or case.journal.attempt > 1:
            raise
        raise Unavailable(
            f"the cluster of {case.application.name} does not answer: {error.problem}",
            f"this is not {case.scenario}: if the API server stays away it is cluster-loss; if only we do not reach "
            "it, mend the way there and start again",
        ) from error


def _lease_is_alive(case: Case, lease: leases.Holder | None) -> str | None:
    """The run whose process holds the lease. Where it makes a difference it is proven, and not told by its clock."""
    if lease is None or (lease.run_id == case.run_id and case.left_lock is not None):
        return None
    if lease.run_id != case.run_id and not case.attempt.take_over:
        return lease.run_id if lease.is_alive else None
    if _died_here(case, lease.run_id):
        return None
    return lease.run_id if leases.is_renewed(case.cluster, case.application.name, lease) else None


def _died_here(case: Case, run_id: str) -> bool:
    """It ran on this host, and its process is gone."""
    try:
        found = _found(case.site, case.application.name)
    except RecoveryError:
        return False
    held = None if found is None else Held.model_validate_json(found.body)
    return held is not None and held.run_id == run_id and held.is_here and not held.lives_here


def _may_take_over(case: Case, other: str, alive: str | None) -> None:
    if alive is not None:
        raise Refused(
            f"run {other} works on {case.application.name} ({alive})",
            f"wait for it, or end it: its report is at dr reports show {other}",
        )
    if other == case.run_id:
        return
    if evidence.has_ended(case.site, other):
        case.event(f"run {other} has ended, and could not release the lock; it is taken")
        return
    if not case.attempt.take_over:
        raise Refused(
            f"run {other} holds {case.application.name}; its process is gone, but it did not finish",
            f"go on with it (--run-id {other}), or leave it for good with --take-over",
        )
    case.event(f"took over from run {other}, whose process is gone")


def _hold_object(case: Case, alive: str | None) -> None:
    store = object_store.connect(case.site.evidence.store)
    mine = Held(run_id=case.run_id, host=socket.gethostname(), pid=os.getpid(), began=_began(os.getpid()), at=now())
    where = key(case.site, case.application.name)
    found = store.get(where)
    try:
        if found is None:
            store.put_if_absent(where, mine.model_dump_json().encode())
            return
        held = Held.model_validate_json(found.body)
        if held.run_id is not None and not _is_mine(case, held):
            _may_take_over(case, held.run_id, _is_alive(case, held, found.etag, alive))
        store.put_if_match(where, mine.model_dump_json().encode(), found.etag)
    except (Exists, Changed) as error:
        raise Refused(
            f"another run took the lock of {case.application.name} at the same moment",
            "see dr reports list for the run that is in progress",
        ) from error


def _is_alive(case: Case, held: Held, version: str, lease: str | None) -> str | None:
    """What proves that the holder lives: its lease, or its process on this host. Nothing: it is dead.

    Where the object stands for the lease, it is renewed as often; a holder on this host is asked for directly."""
    if held.run_id == lease:
        return "its lease is being renewed"
    if held.is_here:
        return f"its process {held.pid} runs on this host" if held.lives_here else None
    if held.run_id == case.run_id and case.left_lock is not None:
        return None if version == case.left_lock else f"host {held.host} took it a moment ago"
    if case.region.cluster is not None:
        return None
    if held.run_id != case.run_id and not case.attempt.take_over:
        moves = now() - held.at < leases.LASTS
    else:
        moves = leases.is_moving(lambda: _version(case.site, case.application.name), version)
    return "its lock is being renewed" if moves else None


def _found(site: Site, application: str) -> Object | None:
    return object_store.connect(site.evidence.store).get(key(site, application))


def _version(site: Site, application: str) -> str | None:
    found = _found(site, application)
    return None if found is None else found.etag


def _renew(case: Case) -> None:
    """Raises: Refused: another process holds it now; Unavailable: the store did not answer."""
    store, where = object_store.connect(case.site.evidence.store), key(case.site, case.application.name)
    found = store.get(where)
    held = None if found is None else Held.model_validate_json(found.body)
    if found is None or held is None or not _is_mine(case, held):
        raise Refused(
            f"the lock of {case.application.name} is held by {held.run_id if held else 'nobody'} now",
            "another process took over; this one must not go on",
        )
    try:
        store.put_if_match(where, held.model_copy(update={"at": now()}).model_dump_json().encode(), found.etag)
    except Changed:
        return  # somebody wrote at the same moment: the next look tells who


def _is_mine(case: Case, held: Held) -> bool:
    return held.run_id == case.run_id and held.is_me


def _began(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: pids are used again, this with it is not.

    None: none runs. A zombie does not: it is dead, and only nobody has asked yet how it ended.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(fields[18])


def release(case: Case) -> None:
    """Nobody holds the lock, unless another process has taken it over."""
    try:
        if case.lease is not None:
            case.lease.end()
    finally:  # of the two each may be away
        found = _found(case.site, case.application.name)
        if found is not None and _is_mine(case, Held.model_validate_json(found.body)):
            store = object_store.connect(case.site.evidence.store)
            _give_up(store, key(case.site, case.application.name), found)


def _give_up(store: Store, where: str, found: Object) -> None:
    nobody = Held.model_validate_json(found.body).model_copy(update={"run_id": None, "at": now()})
    store.put_if_match(where, nobody.model_dump_json().encode(), found.etag)

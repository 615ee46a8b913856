"""One run at a time on an application: a Lease in its cluster, and an object in the evidence store.

Both, since each may be what the disaster took: the Lease ends by itself when the runner dies, the object outlives the
cluster. An application without a cluster has the object alone, which then is renewed like a lease. Prefect's
concurrency limits are no lock: they do not know of a run that was started without Prefect.
"""

from __future__ import annotations

import os
import socket
from datetime import datetime
from pathlib import Path

from runbooks.errors import RecoveryError, Refused, Unavailable
from runbooks.model import Instant, Model, now
from runbooks.site import Region, Site
from tasks import leases, object_store
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


def must_be_alone(site: Site, application: str, run_id: str, *, take_over: bool) -> None:
    """No other process executes this run, on whatever host. Reads only: a start that is refused leaves no trace.

    A store that does not answer says nothing: `acquire` judges that.

    Raises:
        Refused: one does, or nobody knows and --take-over was not given.
    """
    try:
        found = object_store.connect(site.evidence.store).get(key(site, application))
    except RecoveryError:
        return
    if found is not None:
        held = Held.model_validate_json(found.body)
        _must_be_gone(site, application, held, run_id, take_over=take_over)


def _must_be_gone(site: Site, application: str, held: Held, run_id: str, *, take_over: bool) -> None:
    """The process that executed this run before has ended: on this host /proc says so, on another one its lease."""
    if held.run_id != run_id or held.is_me or (held.is_here and not held.lives_here):
        return
    who, trace = f"process {held.pid} of host {held.host}", "this start wrote nothing"
    if held.lives_here:
        raise Refused(f"run {run_id} is being executed by {who}", f"wait for it, or end that process first; {trace}")
    try:
        renewed = _renewed_at(site.region(site.application(application).home), application, held)
    except Unavailable as error:
        if take_over:
            return
        raise Refused(
            f"run {run_id} was last executed by {who}, and the cluster that knows whether it lives does not answer",
            f"when that process is proven dead, add --take-over; {trace}",
        ) from error
    if renewed is not None and now() - renewed < leases.LASTS:
        raise Refused(
            f"run {run_id} is being executed by {who}: it renewed its lease at {renewed:%H:%M:%S} UTC",
            f"wait for it, or end it there; if that host is dead, start again after "
            f"{renewed + leases.LASTS:%H:%M:%S} UTC; {trace}",
        )


def _renewed_at(region: Region, application: str, held: Held) -> datetime | None:
    """When a holder on another host said last that it lives. Raises: Unavailable: its cluster does not answer."""
    if region.cluster is None:
        return held.at
    lease = leases.holder(region.cluster, application)
    return lease.renewed_at if lease is not None and lease.run_id == held.run_id else None


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
        case.lease = leases.Renewal(lambda: _renew(case))
        return
    if lease is not None and lease.run_id != case.run_id:
        _may_take_over(case, lease.run_id, "its lease is being renewed" if lease.is_alive else None)
    if case.is_drill or _store_answers(case):
        _hold_object(case, _lease_is_alive(lease))
    leases.take(case.cluster, name, case.run_id)
    case.lease = leases.Renewal(lambda: leases.renew(case.cluster, name, case.run_id))


def _store_answers(case: Case) -> bool:
    try:
        object_store.connect(case.site.evidence.store).get(key(case.site, case.application.name))
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


def _lease_is_alive(lease: leases.Holder | None) -> str | None:
    return lease.run_id if lease is not None and lease.is_alive else None


def _may_take_over(case: Case, other: str, alive: str | None) -> None:
    if alive is not None:
        raise Refused(
            f"run {other} works on {case.application.name} ({alive})",
            f"wait for it, or end it: its report is at dr reports show {other}",
        )
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
        if held.run_id not in (None, case.run_id):
            _may_take_over(case, str(held.run_id), _is_alive(held, alive, is_renewed=case.region.cluster is None))
        _must_be_gone(case.site, case.application.name, held, case.run_id, take_over=case.attempt.take_over)
        store.put_if_match(where, mine.model_dump_json().encode(), found.etag)
    except (Exists, Changed) as error:
        raise Refused(
            f"another run took the lock of {case.application.name} at the same moment",
            "see dr reports list for the run that is in progress",
        ) from error


def _is_alive(held: Held, lease: str | None, *, is_renewed: bool) -> str | None:
    """What proves that the holder lives: its lease, or its process on this host. Nothing: it is dead.

    Where the object stands for the lease, it is renewed as often; a holder on this host is asked for directly."""
    if held.run_id == lease:
        return "its lease is being renewed"
    if held.is_here:
        return f"its process {held.pid} runs on this host" if held.lives_here else None
    return "its lock is being renewed" if is_renewed and now() - held.at < leases.LASTS else None


def _renew(case: Case) -> None:
    """Raises: Refused: another run holds it now; Unavailable: the store did not answer."""
    store, where = object_store.connect(case.site.evidence.store), key(case.site, case.application.name)
    found = store.get(where)
    held = None if found is None else Held.model_validate_json(found.body)
    if found is None or held is None or held.run_id != case.run_id:
        raise Refused(
            f"the lock of {case.application.name} is held by {held.run_id if held else 'nobody'} now",
            "another run took over; this one must not go on",
        )
    try:
        store.put_if_match(where, held.model_copy(update={"at": now()}).model_dump_json().encode(), found.etag)
    except Changed:
        return  # somebody wrote at the same moment: the next look tells who


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
    """Nobody holds the lock, unless another run has taken it over."""
    if case.lease is not None:
        case.lease.end()
    store = object_store.connect(case.site.evidence.store)
    where = key(case.site, case.application.name)
    found = store.get(where)
    if found is not None and Held.model_validate_json(found.body).run_id == case.run_id:
        _give_up(store, where, found)
    if case.region.cluster is not None:
        leases.release(case.cluster, case.application.name, case.run_id)


def _give_up(store: Store, where: str, found: Object) -> None:
    nobody = Held.model_validate_json(found.body).model_copy(update={"run_id": None, "at": now()})
    store.put_if_match(where, nobody.model_dump_json().encode(), found.etag)

"""A Lease in the target cluster: who runs there now, and whether that process still lives."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from runbooks.errors import RecoveryError, Refused
from runbooks.model import Json, Model, now
from runbooks.site import Cluster
from tasks.clients import kubernetes
from tasks.clients.kubernetes import Conflict, Exists, Missing

NAMESPACE = "dr-runbooks"
KIND = ("coordination.k8s.io/v1", "Lease")
LASTS = timedelta(seconds=30)
RENEWED_EVERY = timedelta(seconds=8)
ASKED_AFTER = timedelta(seconds=10)
"""A process that was stopped for so long asks whether it still holds it; less than another one watches for."""
WATCHED = timedelta(seconds=15)


class Holder(Model):
    run_id: str
    renewed_at: datetime
    acquired: str
    version: str

    @property
    def is_alive(self) -> bool:
        """By the holder's clock, which may be wrong: no proof, see `is_renewed`."""
        return now() - self.renewed_at < LASTS


def holder(cluster: Cluster, name: str) -> Holder | None:
    """Who holds the lease; None when nobody does. Reads only."""
    with kubernetes.connect(cluster) as api:
        try:
            found = api.get(*KIND, name, namespace=NAMESPACE)
        except Missing:
            return None
    spec = found["spec"]
    if not spec.get("holderIdentity"):
        return None
    return Holder(
        run_id=spec["holderIdentity"],
        renewed_at=datetime.fromisoformat(spec["renewTime"]),
        acquired=spec.get("acquireTime", ""),
        version=found["metadata"]["resourceVersion"],
    )


def is_renewed(cluster: Cluster, name: str, seen: Holder) -> bool:
    """Does a process hold it? Watched, since the clocks of hosts differ."""

    def version() -> str | None:
        found = holder(cluster, name)
        return None if found is None else found.version

    return is_moving(version, seen.version)


def is_moving(version: Callable[[], str | None], seen: str) -> bool:
    """Is it another one than *seen* within the time in which a living holder renews it? Gone is not moving."""
    end = time.monotonic() + WATCHED.total_seconds()
    while time.monotonic() < end:
        found = version()
        if found != seen:
            return found is not None
        time.sleep(1)
    return False


def take(cluster: Cluster, name: str, run_id: str) -> str:
    """Make *run_id* the holder of a lease that nobody alive holds. Returns what tells this taking from any other.

    Raises:
        Refused: somebody else took it at the same moment.
    """
    with kubernetes.connect(cluster) as api:
        try:
            found = api.get(*KIND, name, namespace=NAMESPACE)
        except Missing:
            found = None
        spec = {**_spec(run_id), "acquireTime": _stamp()}
        try:
            if found is None:
                api.create(*KIND, _lease(name, spec), namespace=NAMESPACE)
            else:
                version = found["metadata"]["resourceVersion"]
                api.patch(*KIND, name, _claim(spec, version), namespace=NAMESPACE)
        except (Exists, Conflict) as error:
            raise Refused(
                f"lease {NAMESPACE}/{name} was taken by another run at the same moment",
                "see dr reports list for the run that is in progress",
            ) from error
    return str(spec["acquireTime"])


def renew(cluster: Cluster, name: str, run_id: str, acquired: str) -> None:
    """Raises: Refused: another process holds it now; Unavailable: the API did not answer."""
    found = holder(cluster, name)
    if found is None or (found.run_id, found.acquired) != (run_id, acquired):
        raise Refused(
            f"lease {NAMESPACE}/{name} is held by {found.run_id if found else 'nobody'}, no longer by this process of "
            f"{run_id}",
            "another process took over; this one must not go on",
        )
    with kubernetes.connect(cluster) as api, contextlib.suppress(Conflict):  # who changed it, the next look tells
        api.patch(*KIND, name, _claim(_spec(run_id), found.version), namespace=NAMESPACE)


def release(cluster: Cluster, name: str, run_id: str, acquired: str) -> None:
    """Nobody holds it afterwards, unless another process has taken it over."""
    found = holder(cluster, name)
    if found is None or (found.run_id, found.acquired) != (run_id, acquired):
        return
    with kubernetes.connect(cluster) as api:
        api.patch(*KIND, name, _claim(_spec(""), found.version), namespace=NAMESPACE)


def _claim(spec: dict[str, Json], version: str) -> dict[str, Json]:
    """A merge patch that the API refuses (409) when the lease has changed since *version*."""
    return {"metadata": {"resourceVersion": version}, "spec": spec}


def _spec(run_id: str) -> dict[str, Json]:
    return {"holderIdentity": run_id, "renewTime": _stamp(), "leaseDurationSeconds": int(LASTS.total_seconds())}


def _stamp() -> str:
    return now().isoformat(timespec="microseconds").replace("+00:00", "Z")


def _lease(name: str, spec: dict[str, Json]) -> dict[str, Json]:
    return {
        "apiVersion": KIND[0],
        "kind": KIND[1],
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/managed-by": "dr-runbooks"}},
        "spec": spec,
    }


class Renewal:
    """Renews what a run holds beside it; the run asks `must_be_held` before it changes anything."""

    def __init__(self, renew: Callable[[], None], release: Callable[[], None]) -> None:
        self._ask, self._release = renew, release
        self._renewed = self._asked = time.monotonic()
        self._ended = threading.Event()
        self._lost: Refused | None = None
        self._asking = threading.Lock()
        threading.Thread(target=self._forever, name="lease", daemon=True).start()

    def must_be_held(self) -> None:
        """Raises: Refused: another process took over, as a run that was stopped for a while finds out here."""
        with self._asking:
            if time.monotonic() - max(self._renewed, self._asked) > ASKED_AFTER.total_seconds():
                self._renew()
        if self._lost is not None:
            raise self._lost

    def is_held(self) -> bool:
        try:
            self.must_be_held()
        except Refused:
            return False
        return True

    def _forever(self) -> None:
        while self._lost is None and not self._ended.wait(RENEWED_EVERY.total_seconds()):
            with self._asking:
                self._renew()

    def _renew(self) -> None:
        self._asked = time.monotonic()
        try:
            self._ask()
        except Refused as error:
            self._lost = error
        except RecoveryError:
            return  # an API that is away for a while does not end a recovery; nobody else can take it either
        else:
            self._renewed = time.monotonic()

    def end(self) -> None:
        """Nobody holds it, unless another process has taken it over."""
        self._ended.set()
        self._release()


def hold(cluster: Cluster, name: str, run_id: str) -> Renewal:
    """Take the lease, and renew it from now on. Raises: as `take`."""
    acquired = take(cluster, name, run_id)
    return Renewal(lambda: renew(cluster, name, run_id, acquired), lambda: release(cluster, name, run_id, acquired))

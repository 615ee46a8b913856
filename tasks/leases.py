"""A Lease in the target cluster: who runs there now, and whether that process still lives."""

from __future__ import annotations

import threading
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


class Holder(Model):
    run_id: str
    renewed_at: datetime
    version: str

    @property
    def is_alive(self) -> bool:
        """A holder renews every 8 s; one that has not for 30 s is dead or cut off."""
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
        version=found["metadata"]["resourceVersion"],
    )


def take(cluster: Cluster, name: str, run_id: str) -> None:
    """Make *run_id* the holder of a lease that nobody alive holds.

    Raises:
        Refused: somebody else took it at the same moment.
    """
    with kubernetes.connect(cluster) as api:
        try:
            found = api.get(*KIND, name, namespace=NAMESPACE)
        except Missing:
            found = None
        try:
            if found is None:
                api.create(*KIND, _lease(name, run_id), namespace=NAMESPACE)
            else:
                version = found["metadata"]["resourceVersion"]
                api.patch(*KIND, name, _claim(run_id, version), namespace=NAMESPACE)
        except (Exists, Conflict) as error:
            raise Refused(
                f"lease {NAMESPACE}/{name} was taken by another run at the same moment",
                "see dr reports list for the run that is in progress",
            ) from error


def renew(cluster: Cluster, name: str, run_id: str) -> None:
    """Raises: Refused: another run holds it now; Unavailable: the API did not answer."""
    found = holder(cluster, name)
    if found is None or found.run_id != run_id:
        raise Refused(
            f"lease {NAMESPACE}/{name} is held by {found.run_id if found else 'nobody'}, no longer by {run_id}",
            "another run took over; this one must not go on",
        )
    with kubernetes.connect(cluster) as api:
        api.patch(*KIND, name, _claim(run_id, found.version), namespace=NAMESPACE)


def release(cluster: Cluster, name: str, run_id: str) -> None:
    """Nobody holds it afterwards, unless another run has taken it over."""
    found = holder(cluster, name)
    if found is None or found.run_id != run_id:
        return
    with kubernetes.connect(cluster) as api:
        api.patch(*KIND, name, _claim("", found.version), namespace=NAMESPACE)


def _claim(run_id: str, version: str) -> dict[str, Json]:
    """A merge patch that the API refuses (409) when the lease has changed since *version*."""
    return {"metadata": {"resourceVersion": version}, "spec": _spec(run_id)}


def _spec(run_id: str) -> dict[str, Json]:
    stamp = now().isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"holderIdentity": run_id, "renewTime": stamp, "leaseDurationSeconds": int(LASTS.total_seconds())}


def _lease(name: str, run_id: str) -> dict[str, Json]:
    return {
        "apiVersion": KIND[0],
        "kind": KIND[1],
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/managed-by": "dr-runbooks"}},
        "spec": _spec(run_id),
    }


class Renewal:
    """Renews what a run holds beside the run; `lost` says why this run does not hold it any more."""

    def __init__(self, renew: Callable[[], None]) -> None:
        self._renew = renew
        self._ended = threading.Event()
        self.lost: Refused | None = None
        threading.Thread(target=self._forever, name="lease", daemon=True).start()

    def _forever(self) -> None:
        while not self._ended.wait(RENEWED_EVERY.total_seconds()):
            try:
                self._renew()
            except Refused as error:
                self.lost = error
                return
            except RecoveryError:
                continue  # an API that is away for a while does not end a recovery; nobody else can take it either

    def end(self) -> None:
        self._ended.set()

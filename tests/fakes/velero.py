"""What the controllers of the fake Velero have in common: it works only while its own pods do."""

from __future__ import annotations

import re
from datetime import timedelta

from tests.fakes import clock, velero_disk
from tests.fakes.core import Core
from tests.fakes.kinds import BACKUPS, DAEMON_SETS, DELETE_REQUESTS, DEPLOYMENTS, LOCATIONS, PODS, Resource
from tests.fakes.kinds import BY_FULL_NAME as BY
from tests.fakes.selectors import labels_of
from tests.fakes.store import Object, now
from tests.fakes.workloads import is_ready

NAMESPACE = "velero"
STORAGE_LOCATION = "velero.io/storage-location"


def server(core: Core) -> str | None:
    """The UID of the Velero pod that works, if one does."""
    deployment = core.store.find(DEPLOYMENTS, NAMESPACE, "velero")
    if deployment is None or not deployment.get("status", {}).get("readyReplicas"):
        return None
    pods = [pod for pod in core.store.list(PODS, NAMESPACE) if labels_of(pod).get("deploy") == "velero"]
    return next((pod["metadata"]["uid"] for pod in pods if is_ready(pod)), None)


def node_agent_runs(core: Core) -> bool:
    agent = core.store.find(DAEMON_SETS, NAMESPACE, "node-agent")
    return agent is not None and bool(agent.get("status", {}).get("numberReady"))


def set_status(core: Core, resource: Resource, obj: Object, **status: object) -> Object:
    def change(new: Object) -> None:
        new["status"] = new.get("status", {}) | status

    return core.store.amend(resource, obj, change)


def phase(obj: Object) -> str:
    return str(obj.get("status", {}).get("phase") or "New")


def label(value: str) -> str:
    return value[:63]


def later(duration: str) -> str:
    """The stamp of now plus a Go duration such as 720h0m0s."""
    units = {"h": 3600, "m": 60, "s": 1}
    seconds = sum(float(n) * units[unit] for n, unit in re.findall(r"([\d.]+)([hms])", duration))
    return clock.stamp(clock.now() + timedelta(seconds=seconds))


def housekeeping(core: Core) -> None:
    """Storage locations are validated, schedules are enabled, deleted backups are deleted."""
    if server(core) is None:
        return
    for one in core.store.list(LOCATIONS, NAMESPACE):
        due = core.timers.elapsed(("validate", one["metadata"]["uid"]), core.settings.validation_seconds)
        if due or "phase" not in one.get("status", {}):
            core.timers.forget(("validate", one["metadata"]["uid"]))
            stamps = {"lastValidationTime": now(), "lastSyncedTime": now()}
            set_status(core, LOCATIONS, one, phase=core.settings.location_phase, **stamps)
    for one in core.store.list(BY["schedules.velero.io"], NAMESPACE):
        if not one.get("status", {}).get("phase"):
            set_status(core, BY["schedules.velero.io"], one, phase="Enabled")
    for one in core.store.list(DELETE_REQUESTS, NAMESPACE):
        if phase(one) != "Processed":
            name = one["spec"]["backupName"]
            velero_disk.forget_backup(core, name)
            if backup := core.store.find(BACKUPS, NAMESPACE, name):
                core.store.remove(BACKUPS, backup)
            set_status(core, DELETE_REQUESTS, one, phase="Processed")

"""Watches each cluster's backups: objects and files are recorded when a backup begins and when it has ended.

Velero reads them some time in between. So what is equal in both records must be in the backup like that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from runbooks.errors import RecoveryError, Refused
from runbooks.records import BackupState, FileManifest, Snapshot
from runbooks.site import Application, Cluster, Files, Site
from tasks import cluster_state, files
from tasks.cases import save
from tasks.clients import kubernetes
from tasks.clients.kubernetes import Api
from tasks.digests import key_of

LOG = logging.getLogger("dr.observer")
BACKUP = ("velero.io/v1", "Backup")
NOT_BEGUN = {"", "New", "Queued", "ReadyToStart"}
ENDED = {"Completed", "PartiallyFailed", "Failed", "FailedValidation", "Deleting"}
POLL = timedelta(seconds=1)


@dataclass
class _Followed:
    """One backup that was seen before Velero began to read."""

    name: str
    uid: str
    files: tuple[Files, ...]
    namespaces: tuple[str, ...]
    ended: threading.Event = field(default_factory=threading.Event)


def parts(site: Site, where: Path, stop: threading.Event) -> list[tuple[str, Callable[[], None]]]:
    """One part of the observer for each region in which an application has namespaces."""
    found: list[tuple[str, Callable[[], None]]] = []
    for region in site.regions:
        mine = tuple(a for a in site.applications if a.home == region.name and a.namespaces)
        if mine and region.cluster is not None:
            watch = _Watch(site, region.name, region.cluster, mine, where, stop)
            found.append((f"backups of region {region.name}", watch.run))
    return found


class _Watch:
    def __init__(
        self,
        site: Site,
        name: str,
        cluster: Cluster,
        applications: tuple[Application, ...],
        where: Path,
        stop: threading.Event,
    ) -> None:
        self._site, self._name, self._cluster, self._applications = site, name, cluster, applications
        self._where, self._stop = where, stop
        self._known: dict[str, _Followed | None] = {}
        self._has_looked = False
        self._problem: str | None = None

    def run(self) -> None:
        """Look every second; a cluster that is away is asked again, and said once."""
        while not self._stop.is_set():
            try:
                with kubernetes.connect(self._cluster) as api:
                    while not self._stop.is_set():
                        self._look(api)
                        self._stop.wait(POLL.total_seconds())
            except RecoveryError as error:
                self._say(error.problem)
                self._stop.wait(POLL.total_seconds())

    def _say(self, problem: str | None) -> None:
        if problem != self._problem:
            self._problem = problem
            LOG.warning("region %s: %s", self._name, problem or "answers again")

    def _look(self, api: Api) -> None:
        listed = api.list(*BACKUP, namespace=self._cluster.velero_namespace)
        self._say(None)
        for backup in listed:
            uid = str(backup["metadata"]["uid"])
            phase = str(backup.get("status", {}).get("phase", ""))
            if uid not in self._known:
                self._known[uid] = self._begin(backup, phase)
            followed = self._known[uid]
            if followed is not None and phase in ENDED:
                followed.ended.set()
        self._forget({str(b["metadata"]["uid"]) for b in listed})
        self._has_looked = True

    def _begin(self, backup: dict[str, Any], phase: str) -> _Followed | None:
        """Follow it, unless Velero may have read files before we looked: then nothing is known for sure."""
        namespaces = self._namespaces(backup)
        is_early = phase in NOT_BEGUN or (self._has_looked and phase not in ENDED)
        if not namespaces or not is_early:
            return None
        wanted = tuple(f for a in self._applications for f in a.files if f.namespace in namespaces)
        followed = _Followed(backup["metadata"]["name"], str(backup["metadata"]["uid"]), wanted, namespaces)
        threading.Thread(target=self._follow, args=(followed,), name=followed.name, daemon=True).start()
        return followed

    def _namespaces(self, backup: dict[str, Any]) -> tuple[str, ...]:
        """Those of our applications that are in it."""
        included = set(backup.get("spec", {}).get("includedNamespaces") or ["*"])
        return tuple(n for a in self._applications for n in a.namespaces if included & {"*", n})

    def _forget(self, listed: set[str]) -> None:
        for uid in self._known.keys() - listed:
            gone = self._known.pop(uid)
            if gone is not None:
                gone.ended.set()

    def _follow(self, backup: _Followed) -> None:
        try:
            objects_started, started = self._recorded(backup)
            while not backup.ended.wait(POLL.total_seconds()):
                if self._stop.is_set():
                    return
            objects_ended, ended = self._recorded(backup)
        except RecoveryError as error:
            LOG.warning("backup %s: its state was not recorded: %s", backup.name, error.problem)
            return
        state = BackupState(
            backup=backup.name, uid=backup.uid, started=started, ended=ended,
            objects_started=objects_started, objects_ended=objects_ended,
        )  # fmt: skip
        try:
            self._where.mkdir(parents=True, exist_ok=True)
            save(self._where / f"{backup.name}.json", state.model_dump_json())
        except OSError as error:
            LOG.warning("backup %s: its state was not written: %s", backup.name, error.strerror)

    def _recorded(self, backup: _Followed) -> tuple[tuple[Snapshot, ...], tuple[FileManifest, ...]]:
        """Both at once: neither is to begin later for the other's sake."""
        with ThreadPoolExecutor(1) as beside:
            manifests = beside.submit(self._manifests, backup)
            return self._snapshots_if_allowed(backup), manifests.result()

    def _snapshots_if_allowed(self, backup: _Followed) -> tuple[Snapshot, ...]:
        """An account that may only list files records files: a report then says that the objects are not compared."""
        try:
            return self._snapshots(backup)
        except Refused as error:
            LOG.warning("backup %s: its objects are not recorded: %s", backup.name, error.problem)
            return ()

    def _snapshots(self, backup: _Followed) -> tuple[Snapshot, ...]:
        key = key_of(self._site)
        with kubernetes.connect(self._cluster) as api:
            return tuple(cluster_state.snapshot(api, namespace, key) for namespace in backup.namespaces)

    def _manifests(self, backup: _Followed) -> tuple[FileManifest, ...]:
        with kubernetes.connect(self._cluster) as api:
            return tuple(files.manifest(api, one) for one in backup.files)

"""A whole recovery in the fake world, and every way in which it can be told to go wrong."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import fake_world, seed, site
from tests.fakes.fake_world import World

MAPS = "/api/v1/namespaces/production/configmaps"
RESTORES = "/apis/velero.io/v1/namespaces/velero/restores"
BACKUPS = "/apis/velero.io/v1/namespaces/velero/backups"
NAMESPACE = "/api/v1/namespaces/production"


@pytest.fixture
def world() -> Iterator[World]:
    with fake_world.serve() as made:
        seed.everything(made)
        yield made


def back_up(world: World) -> dict[str, Any]:
    return seed.back_up(world, "good").backup


def delete(world: World) -> None:
    world.api("DELETE", NAMESPACE)
    world.wait(lambda: world.find(NAMESPACE) is None, "the end of the namespace")


def begin_restore(world: World, **spec: Any) -> None:
    meta = {"name": "again", "namespace": "velero"}
    body = {"apiVersion": "velero.io/v1", "kind": "Restore", "metadata": meta, "spec": {"backupName": "good"} | spec}
    world.api("POST", RESTORES, body)


def restore(world: World, **spec: Any) -> dict[str, Any]:
    """A restore, as soon as it has ended."""
    begin_restore(world, **spec)
    return world.wait(lambda: _in_phase(world, "Completed", "PartiallyFailed", "Failed", "FailedValidation"), "its end")


def _in_phase(world: World, *phases: str) -> dict[str, Any] | None:
    seen: dict[str, Any] = world.api("GET", f"{RESTORES}/again")
    return seen if seen.get("status", {}).get("phase") in phases else None


def results(world: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        gzip.decompress((world.directory / "bucket/restores/again/restore-again-results.gz").read_bytes())
    )
    return found


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_recovery(world: World) -> None:
    """Backup, deletion and restore bring all back; the world works less than a second for it."""
    began = cpu_seconds(world.pid)
    marker = {"id": "m-1", "seq": 1}
    assert httpx.post(f"{world.application}/markers/volume", json=marker).status_code == 201
    before = seed.back_up(world, "good").state
    httpx.post(f"{world.application}/markers/volume", json={"id": "m-2", "seq": 2})
    delete(world)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{world.application}/health")
    assert restore(world, includedNamespaces=["production"])["status"]["phase"] == "Completed"
    seed.wait_until_ready(world)
    assert cpu_seconds(world.pid) - began < 1
    assert httpx.get(f"{world.application}/health").json() == {"status": "UP"}
    assert httpx.get(f"{world.application}/orders/12345").json()["customer"] == "ACME"
    assert httpx.get(f"{world.application}/invoices/12345").text.startswith("invoice 12345")
    assert httpx.get(f"{world.application}/markers/volume?after=0").json() == {"ids": [1]}
    assert [one.files for one in seed.manifests(world)] == [one.files for one in before.ended]


def test_lost_snapshot(world: World) -> None:
    """Metadata without data: PartiallyFailed, and the pod that should have waited for the files waits for ever."""
    back_up(world)
    delete(world)
    world.set(lost_snapshots=["invoices"])
    ended = restore(world)
    assert (ended["status"]["phase"], ended["status"]["errors"]) == ("PartiallyFailed", 1)
    assert "snapshot not found" in results(world)["errors"]["namespaces"]["production"][0]
    pods = world.api("GET", f"{NAMESPACE}/pods?labelSelector=app%3Dorders")["items"]
    assert sorted(pod["status"]["phase"] for pod in pods) == ["Pending", "Running", "Running"]
    deployment = world.api("GET", "/apis/apps/v1/namespaces/production/deployments/orders")
    assert "readyReplicas" not in deployment["status"]


def test_wrong_recovery_that_looks_right(world: World) -> None:
    """Completed without errors, though an object is missing, another is changed, and a file is not what it was."""
    back_up(world)
    delete(world)
    world.set(
        restore_omits=["poddisruptionbudgets.policy/orders"],
        restore_alters=[{"object": "configmaps/orders", "patch": {"data": {"COLOR": "red"}}}],
        restore_files={"invoices": {"invoices/12345.txt": "altered", "invoices/12346.txt": None}},
    )
    ended = restore(world)
    assert ended["status"]["phase"] == "Completed"
    assert "errors" not in ended["status"]
    assert world.find("/apis/policy/v1/namespaces/production/poddisruptionbudgets/orders") is None
    assert world.api("GET", f"{MAPS}/orders")["data"]["COLOR"] == "red"
    invoices = world.volume("production", "invoices") / "invoices"
    assert (invoices / "12345.txt").read_text() == "altered"
    assert not (invoices / "12346.txt").exists()


@pytest.mark.parametrize("phase", ["PartiallyFailed", "Failed", "FailedValidation"])
def test_restore_that_ends_badly(world: World, phase: str) -> None:
    back_up(world)
    delete(world)
    world.set(restore_phase=phase)
    assert restore(world)["status"]["phase"] == phase


def test_restore_that_hangs(world: World) -> None:
    """Everything is there, and it says InProgress for ever."""
    back_up(world)
    delete(world)
    world.set(restore_phase="InProgress")
    begin_restore(world)
    seed.wait_until_ready(world)
    time.sleep(0.5)
    assert _in_phase(world, "InProgress")


def test_velero_restarted_in_mid_restore(world: World) -> None:
    """Failed; pods are there all the same."""
    back_up(world)
    delete(world)
    world.set(restore_phase="InProgress")
    begin_restore(world)
    world.wait(lambda: world.find(f"{NAMESPACE}/pods"), "the restore to begin")
    [pod] = world.api("GET", "/api/v1/namespaces/velero/pods?labelSelector=deploy%3Dvelero")["items"]
    world.api("DELETE", f"/api/v1/namespaces/velero/pods/{pod['metadata']['name']}?gracePeriodSeconds=0")
    ended = world.wait(lambda: _in_phase(world, "Failed"), "the failure")
    assert "during the server starting" in ended["status"]["failureReason"]


def test_backup_without_node_agent(world: World) -> None:
    """PartiallyFailed, and no volume backup."""
    world.api("DELETE", "/apis/apps/v1/namespaces/velero/daemonsets/node-agent")
    world.wait(lambda: len(world.api("GET", "/api/v1/namespaces/velero/pods")["items"]) == 1, "the agent's end")
    assert back_up(world)["status"]["phase"] == "PartiallyFailed"
    assert world.api("GET", "/apis/velero.io/v1/podvolumebackups")["items"] == []


def test_backup_that_misses_a_claim(world: World) -> None:
    """Completed without errors, and nothing of that volume in it."""
    world.set(backup_omits_claims=["invoices"])
    assert back_up(world)["status"]["phase"] == "Completed"
    [only] = world.api("GET", "/apis/velero.io/v1/podvolumebackups")["items"]
    assert only["metadata"]["annotations"]["velero.io/pvc-name"] == "data-ledger-0"


def test_location_unavailable(world: World) -> None:
    """It is seen at the next validation, and then refuses backups."""
    world.set(location_phase="Unavailable", validation_seconds=0.05)
    location = "/apis/velero.io/v1/namespaces/velero/backupstoragelocations/default"
    world.wait(lambda: world.api("GET", location)["status"]["phase"] == "Unavailable", "the next validation")
    backup = {"metadata": {"name": "bad", "namespace": "velero"}, "spec": {}}
    world.api("POST", BACKUPS, {"apiVersion": "velero.io/v1", "kind": "Backup"} | backup)
    refused = world.wait(lambda: world.api("GET", f"{BACKUPS}/bad").get("status"), "a refusal")
    assert refused["phase"] == "FailedValidation"


def test_velero_scaled_to_zero(world: World) -> None:
    """Nobody works on what is posted."""
    velero = "/apis/apps/v1/namespaces/velero/deployments/velero"
    world.patch(velero, {"spec": {"replicas": 0}})
    world.wait(lambda: "readyReplicas" not in world.api("GET", velero)["status"], "the end of Velero")
    backup = {"metadata": {"name": "idle", "namespace": "velero"}, "spec": {}}
    world.api("POST", BACKUPS, {"apiVersion": "velero.io/v1", "kind": "Backup"} | backup)
    time.sleep(0.3)
    assert "status" not in world.api("GET", f"{BACKUPS}/idle")


def test_lost_volume_of_a_living_pod(world: World) -> None:
    """The application says so, and its pods are taken out of the Service."""
    (world.volume("production", "invoices") / "seed.json").unlink()
    slices = "/apis/discovery.k8s.io/v1/namespaces/production/endpointslices?labelSelector=app%3Dorders"

    def nobody_ready() -> bool:
        [one] = world.api("GET", slices)["items"]
        return not any(end["conditions"]["ready"] for end in one["endpoints"])

    world.wait(nobody_ready, "the Service without endpoints")


def test_site_file(world: World, tmp_path: Path) -> None:
    """It is a complete one: read back strictly, with the world's own pins."""
    made = site.write(tmp_path, world, slack_url="http://127.0.0.1:1/api/")
    assert made.site.regions[0].kubernetes.uid == world.cluster_uid
    assert made.site.slack is not None
    taken = seed.back_up(world, "recorded", made.records)
    assert json.loads((made.records / "recorded.json").read_text())["uid"] == taken.backup["metadata"]["uid"]

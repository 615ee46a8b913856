"""What the fake Velero and the real one do alike: a backup, what it holds, and restores of it; in the file's order."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from runbooks import sandbox
from runbooks.records import KubeObject
from tests.contract.client import MERGE, Client, wait
from tests.contract.conftest import IMAGE, Ground, is_ready, web
from tests.contract.looks import addresses, config_map, pods_of
from tests.contract.velero import VELERO, begin, download, follow

pytestmark = pytest.mark.slow

BACKUP_PHASES = ["New", "Queued", "ReadyToStart", "InProgress", "Finalizing", "Completed"]
RESTORE_PHASES = ["New", "InProgress", "Finalizing", "Completed"]
GATE = "dr-runbooks/gate"
REACHED = (
    'timeout 2 nc -w 1 "$KUBERNETES_SERVICE_HOST" "$KUBERNETES_SERVICE_PORT" </dev/null >/dev/null 2>&1; '
    "[ $? -eq 1 ] || echo reached"
)
PORTS = [{"port": 80, "targetPort": 8080}]


@dataclass
class Shop:
    """A namespace with a Deployment on a volume, what usually stands beside it, and a claim that nobody uses."""

    ground: Ground
    namespace: str
    backup: str
    uids: dict[str, str]

    @property
    def client(self) -> Client:
        return self.ground.client

    def path(self, what: str, api: str = "/api/v1") -> str:
        return f"{api}/namespaces/{self.namespace}/{what}"

    def in_a_pod(self, *command: str) -> bytes:
        pod = pods_of(self.client, self.namespace, "app=web")[0]["metadata"]["name"]
        return self.client.run(self.path(f"pods/{pod}"), *command).stdout

    def file(self, name: str) -> str:
        return f"{self.ground.directory(self.namespace, 'data')}/{name}"

    def wait_until_ready(self) -> list[dict[str, Any]]:
        def ready() -> list[dict[str, Any]] | None:
            pods = pods_of(self.client, self.namespace, "app=web")
            return pods if len(pods) == 2 and all(map(is_ready, pods)) else None

        return wait(ready, "two ready pods")


@pytest.fixture(scope="module")
def shop(ground: Ground) -> Iterator[Shop]:
    namespace = ground.namespace(purpose="shop")
    made = Shop(ground, namespace, f"contract-{uuid.uuid4().hex[:6]}", {})
    labels = {"app": "web"}
    deployment = {
        "metadata": {"name": "web", "labels": labels},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": web("data")},
        },
    }
    budget = {"metadata": {"name": "web"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}}}
    service = {"metadata": {"name": "web", "labels": labels}, "spec": {"selector": labels, "ports": PORTS}}
    secret = {"metadata": {"name": "web"}, "stringData": {"key": "value"}}
    ground.claim(namespace, "data")
    ground.claim(namespace, "unused")
    rbac = "rbac.authorization.k8s.io"
    binding = {
        "metadata": {"name": "web"},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    for path, obj in (
        (made.path("configmaps"), config_map("web", color="blue")),
        (made.path("rolebindings", f"/apis/{rbac}/v1"), binding),
        (made.path("secrets"), secret),
        (made.path("services"), service),
        (made.path("deployments", "/apis/apps/v1"), deployment),
        (made.path("poddisruptionbudgets", "/apis/policy/v1"), budget),
    ):
        ground.client.expect(201, "POST", path, obj)
    made.wait_until_ready()
    made.in_a_pod("sh", "-c", f"mkdir {made.file('dir')}; echo one > {made.file('dir/one.txt')}")
    yield made
    ground.client.ask("POST", f"{VELERO}/deletebackuprequests", {
        "apiVersion": "velero.io/v1", "kind": "DeleteBackupRequest",
        "metadata": {"generateName": f"{made.backup}-", "namespace": "velero"}, "spec": {"backupName": made.backup},
    })  # fmt: skip


@contextmanager
def restored(shop: Shop, **spec: Any) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """A restore of the shop's backup that has ended."""
    name = f"contract-{uuid.uuid4().hex[:6]}"
    wanted = {"backupName": shop.backup, "includedNamespaces": [shop.namespace]} | spec
    version = begin(shop.client, "Restore", "restores", name, wanted)
    yield follow(shop.client, "restores", name, version)
    shop.client.ask("DELETE", f"{VELERO}/restores/{name}")
    wait(lambda: shop.client.gone(f"{VELERO}/restores/{name}"), "the restore's end")


def test_backup(shop: Shop) -> None:
    """It goes through its phases; a claim that running pods mount is backed up once, a pending one is passed over."""
    spec = {"includedNamespaces": [shop.namespace], "ttl": "1h0m0s", "defaultVolumesToFsBackup": True}
    version = begin(shop.client, "Backup", "backups", shop.backup, spec)
    phases, backup = follow(shop.client, "backups", shop.backup, version)
    assert phases == BACKUP_PHASES
    status = backup["status"]
    assert status["expiration"] > status["completionTimestamp"] >= status["startTimestamp"]
    assert status["progress"]["itemsBackedUp"] == status["progress"]["totalItems"] > 10
    assert "errors" not in status
    assert backup["spec"]["storageLocation"] == "default"
    assert backup["metadata"]["labels"]["velero.io/storage-location"] == "default"
    found = shop.client.get(f"{VELERO}/podvolumebackups", labelSelector=f"velero.io/backup-name={shop.backup}")["items"]
    [volume] = found
    assert volume["metadata"]["annotations"]["velero.io/pvc-name"] == "data"
    assert volume["metadata"]["labels"]["velero.io/backup-uid"] == backup["metadata"]["uid"]
    assert (volume["spec"]["volume"], volume["spec"]["pod"]["namespace"]) == ("data", shop.namespace)
    assert volume["status"]["phase"] == "Completed"
    assert volume["status"]["progress"]["bytesDone"] == len("one\n")


def test_contents(shop: Shop) -> None:
    """Each object as the API gave it, by resource; also what a restore will not bring back."""
    with tarfile.open(fileobj=io.BytesIO(download(shop.client, "BackupContents", shop.backup))) as tar:
        names = set(tar.getnames())
        kept = tar.extractfile(f"resources/configmaps/namespaces/{shop.namespace}/web.json")
        assert kept is not None
        config = json.loads(kept.read())
    live = shop.client.get(shop.path("configmaps/web"))
    assert config["data"] == live["data"]
    assert config["metadata"]["uid"] == live["metadata"]["uid"]
    assert config["metadata"]["managedFields"]
    assert config["kind"] == "ConfigMap"
    assert "metadata/version" in names
    for one in ("configmaps/kube-root-ca.crt", "deployments.apps/web", "secrets/web", "poddisruptionbudgets.policy/web",
                "persistentvolumeclaims/data", "persistentvolumeclaims/unused", "serviceaccounts/default"):  # fmt: skip
        resource, name = one.split("/")
        assert f"resources/{resource}/namespaces/{shop.namespace}/{name}.json" in names
    assert f"resources/configmaps/v1-preferredversion/namespaces/{shop.namespace}/web.json" in names
    assert f"resources/namespaces/cluster/{shop.namespace}.json" in names
    kinds = {name.split("/")[1] for name in names if name.startswith("resources/")}
    assert {"pods", "replicasets.apps", "endpointslices.discovery.k8s.io", "persistentvolumes"} <= kinds


def test_results_of_a_backup(shop: Shop) -> None:
    results = json.loads(gzip.decompress(download(shop.client, "BackupResults", shop.backup)))
    assert not results["errors"]
    assert b"level=info" in gzip.decompress(download(shop.client, "BackupLog", shop.backup))
    listed = json.loads(gzip.decompress(download(shop.client, "BackupResourceList", shop.backup)))
    assert f"{shop.namespace}/web" in listed["apps/v1/Deployment"]


def test_nothing_to_download(shop: Shop) -> None:
    """Of a backup that does not exist: there is never an address."""
    request = f"contract-{uuid.uuid4().hex[:8]}"
    spec = {"target": {"kind": "BackupContents", "name": "no-such-backup"}}
    begin(shop.client, "DownloadRequest", "downloadrequests", request, spec)
    with shop.client.watching(f"{VELERO}/downloadrequests", fieldSelector=f"metadata.name={request}",
                              timeoutSeconds=3) as events:  # fmt: skip
        assert all("downloadURL" not in event["object"].get("status", {}) for event in events)
    shop.client.ask("DELETE", f"{VELERO}/downloadrequests/{request}")


def test_restore_beside_the_original(shop: Shop) -> None:
    """Changed as a sandbox changes it: the volume is filled in pods that only hold it, whose network is down."""
    other = f"{shop.namespace}-beside"
    shop.ground.made.append(other)
    changes = _changes(shop, sandbox.rules(_objects(shop), IMAGE, "beside"))
    reference, kinds = {"kind": "ConfigMap", "name": changes}, list(sandbox.KINDS.values())
    with restored(
        shop, namespaceMapping={shop.namespace: other}, resourceModifier=reference, includedResources=kinds,
        includeClusterResources=False,
    ) as (phases, restore):  # fmt: skip
        assert (phases[-1], restore["status"].get("errors", 0)) == ("Completed", 0)
    mark = f"{sandbox.POD}=beside"
    pods = wait(lambda: _all_running(pods_of(shop.client, other, mark)), "the holders")
    assert len(pods) == 2
    assert [sandbox.strangers(pod) for pod in pods] == [[], []]
    waits = {one["name"] for pod in pods for one in pod["spec"]["initContainers"]}
    assert waits == {sandbox.CUT, sandbox.RESTORE_WAIT}
    for pod in pods:
        assert not {"app"} & pod["metadata"]["labels"].keys()
        assert shop.client.run(_of(pod), "sh", "-c", REACHED, container="web").stdout == b""
        file = shop.file("dir/one.txt").replace(f"/{shop.namespace}/", f"/{other}/")
        assert shop.client.run(_of(pod), "cat", file, container="web").stdout == b"one\n"
    assert shop.in_a_pod("sh", "-c", REACHED) == b"reached\n", "the original's pods do"
    where = f"/apis/apps/v1/namespaces/{other}/deployments/web"
    assert shop.client.get(where)["spec"]["replicas"] == 0
    [subject] = shop.client.get(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{other}/rolebindings/web")["subjects"]
    assert subject["namespace"] == other
    shop.client.ask("DELETE", f"/api/v1/namespaces/velero/configmaps/{changes}")


def _objects(shop: Shop) -> list[KubeObject]:
    """The pods and Services, as a backup holds them: only they are changed by name."""
    return [
        KubeObject(
            api_version="v1", kind=kind, name=one["metadata"]["name"], uid=one["metadata"]["uid"],
            body={**one, "kind": kind, "apiVersion": "v1"},
        )
        for kind, plural in (("Pod", "pods"), ("Service", "services"))
        for one in shop.client.get(shop.path(plural))["items"]
    ]  # fmt: skip


def _changes(shop: Shop, rules: dict[str, Any]) -> str:
    name = f"contract-{uuid.uuid4().hex[:6]}"
    body = {"metadata": {"name": name, "namespace": "velero"}, "data": {"rules.yaml": json.dumps(rules)}}
    shop.client.expect(201, "POST", "/api/v1/namespaces/velero/configmaps", body)
    return name


def _all_running(pods: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    return pods if pods and all(pod["status"].get("phase") == "Running" for pod in pods) else None


def _of(pod: dict[str, Any]) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def test_restore_of_no_backup(shop: Shop) -> None:
    with restored(shop, backupName="no-such-backup") as (phases, restore):
        assert phases[-1] == "FailedValidation"
        assert "no-such-backup" in restore["status"]["validationErrors"][0]


def test_restore(shop: Shop) -> None:
    """Into the deleted namespace, with a modifier that closes the gate: all is back, and nobody gets in."""
    shop.uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in shop.wait_until_ready()}
    shop.client.expect(200, "DELETE", shop.path("").rstrip("/"))
    wait(lambda: shop.client.gone(shop.path("").rstrip("/")), "the namespace's end")
    modifiers = _modifiers(shop)
    reference = {"kind": "ConfigMap", "name": modifiers}
    with restored(shop, resourceModifier=reference) as (phases, restore):
        assert phases == RESTORE_PHASES
        assert restore["metadata"]["finalizers"] == ["restores.velero.io/external-resources-finalizer"]
        assert "events" in restore["spec"]["excludedResources"]
        assert "errors" not in restore["status"]
        _judge(shop, restore)
    shop.client.ask("DELETE", f"/api/v1/namespaces/velero/configmaps/{modifiers}")


def _modifiers(shop: Shop) -> str:
    rules = f"""
version: v1
resourceModifierRules:
- conditions:
    groupResource: services
    resourceNameRegex: "^web$"
    namespaces: [{shop.namespace}]
  patches:
  - operation: add
    path: /spec/selector/dr-runbooks~1gate
    value: closed
"""
    name = f"contract-{uuid.uuid4().hex[:6]}"
    body = {"metadata": {"name": name, "namespace": "velero"}, "data": {"rules.yaml": rules}}
    shop.client.expect(201, "POST", "/api/v1/namespaces/velero/configmaps", body)
    return name


def _judge(shop: Shop, restore: dict[str, Any]) -> None:
    name = restore["metadata"]["name"]
    results = json.loads(gzip.decompress(download(shop.client, "RestoreResults", name)))
    [warning] = results["warnings"]["namespaces"][shop.namespace]
    assert "kube-root-ca.crt already exists" in warning, "the one warning of a healthy restore"
    assert restore["status"]["warnings"] == 1
    pods = shop.wait_until_ready()
    assert {pod["metadata"]["name"] for pod in pods} == set(shop.uids), "the pods come back under their names"
    assert not {pod["metadata"]["uid"] for pod in pods} & set(shop.uids.values())
    marks = {"velero.io/backup-name": shop.backup, "velero.io/restore-name": name}
    assert all(marks.items() <= pod["metadata"]["labels"].items() for pod in pods)
    [replica_set] = shop.client.get(shop.path("replicasets", "/apis/apps/v1"))["items"]
    owners = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods}
    assert owners == {replica_set["metadata"]["uid"]}, "adopted"
    waits = [pod["spec"].get("initContainers", [{}])[0].get("name") for pod in pods]
    assert sorted(map(str, waits)) == ["None", "restore-wait"], "one of them waited for the files"
    assert shop.in_a_pod("cat", shop.file("dir/one.txt")) == b"one\n"
    left = shop.in_a_pod("ls", "-A", shop.file("")).split()
    assert left == [b".velero", b"dir"], "the waiting container is not root and cannot remove what node-agent wrote"
    [volume] = shop.client.get(f"{VELERO}/podvolumerestores", labelSelector=f"velero.io/restore-name={name}")["items"]
    assert volume["status"]["phase"] == "Completed"
    selector = shop.client.get(shop.path("services/web"))["spec"]["selector"]
    assert selector == {"app": "web", GATE: "closed"}
    assert addresses(shop.client, shop.namespace, "web") == []
    assert shop.client.get(shop.path("configmaps/web"))["data"] == {"color": "blue"}
    assert shop.client.get(shop.path("persistentvolumeclaims/unused"))["status"]["phase"] == "Pending"


def test_restore_over_what_is_there(shop: Shop) -> None:
    """Completed, with a warning for each difference; neither objects nor files are changed."""
    changed = {"data": {"color": "green"}}
    shop.client.expect(200, "PATCH", shop.path("configmaps/web"), changed, kind=MERGE)
    shop.in_a_pod("sh", "-c", f"echo two > {shop.file('dir/one.txt')}")
    with restored(shop, includedResources=["configmaps", "deployments", "secrets"]) as (phases, restore):
        assert phases[-1] == "Completed"
        results = json.loads(gzip.decompress(download(shop.client, "RestoreResults", restore["metadata"]["name"])))
        warned = results["warnings"]["namespaces"][shop.namespace]
    assert any("ConfigMap:web already exists" in one for one in warned)
    assert shop.client.get(shop.path("configmaps/web"))["data"] == {"color": "green"}
    assert shop.in_a_pod("cat", shop.file("dir/one.txt")) == b"two\n"


def test_restore_of_a_part(shop: Shop) -> None:
    """By resource and label into another namespace: an object counts by its own labels."""
    other = f"{shop.namespace}-copy"
    shop.ground.made.append(other)
    chosen = {"includedResources": ["configmaps", "services"], "labelSelector": {"matchLabels": {"for": "contract"}}}
    with restored(shop, namespaceMapping={shop.namespace: other}, **chosen) as (phases, _):
        assert phases[-1] == "Completed"
    found = shop.client.get(f"/api/v1/namespaces/{other}/configmaps")["items"]
    assert sorted(one["metadata"]["name"] for one in found) == ["kube-root-ca.crt", "web"]
    assert shop.client.get(f"/api/v1/namespaces/{other}/services")["items"] == []

"""What the fake cluster and the real one do alike: workloads, endpoints, commands in pods, volumes, namespaces."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.client import JSON_PATCH, MERGE, Client, wait
from tests.contract.conftest import Ground, is_ready, web
from tests.contract.looks import addresses, config_map, pods_of

pytestmark = pytest.mark.slow

FINALIZER = "contract.example/hold"
DEPLOYMENT: dict[str, Any] = {
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": web(None)},
    },
}


def test_deployment_and_gate(ground: Ground) -> None:
    """Deployment → ReplicaSet → ready pods → endpoints; one more key in the Service's selector empties them."""
    client, namespace = ground.client, ground.namespace()
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    made = client.expect(201, "POST", deployments, DEPLOYMENT)
    assert made["metadata"]["generation"] == 1
    assert made["spec"]["progressDeadlineSeconds"] == 600
    services = f"/api/v1/namespaces/{namespace}/services"
    ports = [{"port": 80, "targetPort": 8080}]
    service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}
    assert client.expect(201, "POST", services, service)["spec"]["clusterIP"]
    wait(lambda: len(addresses(client, namespace, "web")) == 2, "two endpoints")
    shown = wait(lambda: _settled(client.get(f"{deployments}/web")), "the Deployment's status")
    assert shown["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    [replica_set] = client.get(f"/apis/apps/v1/namespaces/{namespace}/replicasets")["items"]
    assert replica_set["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    pods = pods_of(client, namespace, "app=web")
    assert [pod["metadata"]["name"] for pod in pods] == addresses(client, namespace, "web")
    for pod in pods:
        assert pod["metadata"]["ownerReferences"][0]["uid"] == replica_set["metadata"]["uid"]
        assert "pod-template-hash" in pod["metadata"]["labels"]
        assert pod["status"]["phase"] == "Running"
        assert pod["spec"]["nodeName"]
        assert pod["status"]["containerStatuses"][0]["imageID"]
    gate = {"spec": {"selector": {"dr-runbooks/gate": "closed"}}}
    client.expect(200, "PATCH", f"{services}/web", gate, kind=MERGE)
    wait(lambda: addresses(client, namespace, "web") == [], "no endpoints")
    opened = [{"op": "remove", "path": "/spec/selector/dr-runbooks~1gate"}]
    client.expect(200, "PATCH", f"{services}/web", opened, kind=JSON_PATCH)
    wait(lambda: len(addresses(client, namespace, "web")) == 2, "two endpoints again")


def _settled(deployment: dict[str, Any]) -> dict[str, Any] | None:
    status = deployment.get("status", {})
    current = status.get("observedGeneration") == deployment["metadata"]["generation"]
    return deployment if current and status.get("availableReplicas") == 2 else None


def test_pod_comes_back(ground: Ground) -> None:
    """A deleted pod of a Deployment is replaced by another; grace 0 takes it away at once."""
    client, namespace = ground.client, ground.namespace()
    client.expect(201, "POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", DEPLOYMENT)
    old = wait(lambda: _two_ready(pods_of(client, namespace, "app=web")), "two pods")
    name = old[0]["metadata"]["name"]
    where = f"/api/v1/namespaces/{namespace}/pods/{name}"
    client.expect(200, "DELETE", where, {"gracePeriodSeconds": 0, "preconditions": {"uid": old[0]["metadata"]["uid"]}})
    wait(lambda: client.gone(where), "the pod's end", 5)
    new = wait(lambda: _two_ready(pods_of(client, namespace, "app=web")), "two pods again")
    assert name not in {pod["metadata"]["name"] for pod in new}


def _two_ready(pods: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    return pods if len(pods) == 2 and all(map(is_ready, pods)) else None


def test_exec(ground: Ground, namespace: str) -> None:
    """Output, error output and exit code of a command; refusals with their codes."""
    pod = ground.pod(namespace, "exec")
    for protocol in ("v4.channel.k8s.io", "v5.channel.k8s.io,v4.channel.k8s.io"):
        ran = ground.client.run(pod, "sh", "-c", "echo out; echo err >&2; exit 3", protocols=protocol)
        assert (ran.stdout, ran.stderr) == (b"out\n", b"err\n")
        assert ran.status["reason"] == "NonZeroExitCode"
        assert ran.status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert ground.client.run(pod, "true").status == {"metadata": {}, "status": "Success"}
    large = ground.client.run(
        pod, "sh", "-c", "head -c 300000 /dev/zero; head -c 100000 /dev/zero >&2", container="web"
    )
    assert (len(large.stdout), len(large.stderr)) == (300_000, 100_000)
    missing = ground.client.run(pod, "/no/such/program")
    assert (missing.status["status"], missing.status["reason"]) == ("Failure", "InternalError")
    assert ground.client.run(pod, "true", container="none").code == 400
    assert ground.client.run(pod.replace("/exec", "/none"), "true").code == 404


def test_proxy(ground: Ground, namespace: str) -> None:
    """A pod's own answer, status and all; a Status with 503 where nothing listens."""
    claim = ground.claim(namespace, "proxied")
    pod = ground.pod(namespace, "proxied", "proxied")
    assert ground.client.get(claim)["status"]["phase"] == "Bound"
    directory = ground.directory(namespace, "proxied")
    assert ground.client.run(pod, "sh", "-c", f"echo hello > {directory}/index.html").status["status"] == "Success"
    answer = ground.client.ask("GET", f"{pod}:8080/proxy/index.html")
    assert (answer.status_code, answer.text) == (200, "hello\n")
    assert ground.client.ask("GET", f"{pod}:8080/proxy/none").status_code == 404
    refused = ground.client.expect(503, "GET", f"{pod}:8099/proxy/index.html")
    assert (refused["kind"], refused["reason"]) == ("Status", "ServiceUnavailable")
    assert ground.client.expect(404, "GET", f"{pod}-none:8080/proxy/")["reason"] == "NotFound"


def test_claim_in_use(ground: Ground, namespace: str) -> None:
    """A deleted claim stays as long as a pod mounts it; its volume goes with it."""
    client, claim = ground.client, ground.claim(namespace, "used")
    pod = ground.pod(namespace, "user", "used")
    bound = client.get(claim)
    assert bound["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    volume = f"/api/v1/persistentvolumes/{bound['spec']['volumeName']}"
    assert client.get(volume)["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"]
    changed = {"spec": {"accessModes": ["ReadWriteMany"]}}
    assert client.expect(422, "PATCH", claim, changed, kind=MERGE)["reason"] == "Invalid"
    assert client.expect(200, "DELETE", claim)["metadata"]["deletionTimestamp"]
    assert client.get(claim)["status"]["phase"] == "Bound"
    client.expect(200, "DELETE", pod, {"gracePeriodSeconds": 0})
    wait(lambda: client.gone(claim), "the claim's end")
    wait(lambda: client.gone(volume), "the volume's end")


def test_namespace_ends(ground: Ground) -> None:
    """Terminating, nothing new in it, waiting for finalizers, then gone; a retained volume stays for another claim."""
    client, namespace = ground.client, ground.namespace(purpose="end")
    claim = ground.claim(namespace, "kept")
    pod = ground.pod(namespace, "keeper", "kept")
    kept = f"{ground.directory(namespace, 'kept')}/kept.txt"
    assert client.run(pod, "sh", "-c", f"echo kept > {kept}").status["status"] == "Success"
    volume = f"/api/v1/persistentvolumes/{client.get(claim)['spec']['volumeName']}"
    retained = client.expect(200, "PATCH", volume, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}, kind=MERGE)
    where = f"/api/v1/namespaces/{namespace}"
    held = config_map("held") | {"metadata": {"name": "held", "finalizers": [FINALIZER]}}
    client.expect(201, "POST", f"{where}/configmaps", held)
    uid = client.get(where)["metadata"]["uid"]
    wrong = {"preconditions": {"uid": retained["metadata"]["uid"]}}
    refused = client.expect(409, "DELETE", where, wrong)
    assert refused["reason"] == "Conflict"
    assert uid in refused["message"]
    ended = client.expect(200, "DELETE", where, {"preconditions": {"uid": uid}})
    assert ended["kind"] == "Namespace"
    assert ended["status"]["phase"] == "Terminating"
    late = client.expect(403, "POST", f"{where}/configmaps", config_map("late"))
    assert (late["reason"], late["details"]["causes"][0]["reason"]) == ("Forbidden", "NamespaceTerminating")
    client.expect(200, "DELETE", where)
    told = wait(lambda: _held(client, where), "a word about the finalizer")
    assert told == f"Some content in the namespace has finalizers remaining: {FINALIZER} in 1 resource instances"
    assert client.get(f"{where}/configmaps/held")["metadata"]["deletionTimestamp"]
    client.expect(200, "PATCH", f"{where}/configmaps/held", {"metadata": {"finalizers": None}}, kind=MERGE)
    wait(lambda: client.gone(where), "the namespace's end")
    assert client.get("/api/v1/pods", fieldSelector=f"metadata.namespace={namespace}")["items"] == []
    released = wait(lambda: _in_phase(client.get(volume), "Released"), "the release")
    assert released["metadata"]["uid"] == retained["metadata"]["uid"]
    _bind_again(ground, volume, released["metadata"]["name"])


def _held(client: Client, where: str) -> str | None:
    """What the namespace says when nothing but our finalizer keeps it."""
    conditions = {one["type"]: one for one in client.get(where)["status"].get("conditions", [])}
    assert len(conditions) in (0, 5)
    told = conditions.get("NamespaceFinalizersRemaining", {})
    left = conditions.get("NamespaceContentRemaining", {}).get("message")
    is_ours = left == "Some resources are remaining: configmaps. has 1 resource instances"
    return str(told["message"]) if is_ours and told["status"] == "True" else None


def _in_phase(volume: dict[str, Any], phase: str) -> dict[str, Any] | None:
    return volume if volume["status"]["phase"] == phase else None


def _bind_again(ground: Ground, volume: str, name: str) -> None:
    """Its data is in a new claim of another namespace."""
    client, elsewhere = ground.client, ground.namespace()
    client.expect(200, "PATCH", volume, {"spec": {"claimRef": None}}, kind=MERGE)
    wait(lambda: _in_phase(client.get(volume), "Available"), "an available volume")
    claim = ground.claim(elsewhere, "again", volumeName=name)
    pod = ground.pod(elsewhere, "again", "again")
    assert client.get(claim)["spec"]["volumeName"] == name
    assert client.run(pod, "cat", f"{ground.directory(elsewhere, 'again')}/kept.txt").stdout == b"kept\n"
    client.expect(200, "PATCH", volume, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}, kind=MERGE)

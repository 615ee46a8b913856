"""What the API server does not take, though it is valid: the same refusals, in the same words, from fake and lab."""

from __future__ import annotations

from typing import Any

from tests.contract.client import wait
from tests.contract.conftest import Ground, web

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


def test_webhook_whose_service_is_gone(ground: Ground, namespace: str) -> None:
    """failurePolicy Fail: 500, and the message names webhook and service. Once it is removed all is well."""
    name = f"gone-{namespace}"
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    hook = {"name": "validation.example.sh", "failurePolicy": "Fail", "rules": [rule], "sideEffects": "None",
            "clientConfig": {"service": {"namespace": namespace, "name": "nobody", "path": "/"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "admissionReviewVersions": ["v1"]}  # fmt: skip
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    ground.client.expect(201, "POST", WEBHOOKS, {"metadata": {"name": name}, "webhooks": [hook]})
    try:
        answer = wait(lambda: _refused(ground, maps), "the webhook asked")
        assert answer["reason"] == "InternalError"
        assert 'failed calling webhook "validation.example.sh"' in answer["message"]
        assert 'service "nobody" not found' in answer["message"]
        assert ground.client.ask("POST", f"/api/v1/namespaces/{namespace}/secrets", _named("spared")).is_success
    finally:
        ground.client.expect(200, "DELETE", f"{WEBHOOKS}/{name}")
    wait(lambda: ground.client.ask("POST", maps, _named("later")).is_success, "the webhook forgotten")


def _refused(ground: Ground, maps: str) -> Any:
    answer = ground.client.ask("POST", f"{maps}?dryRun=All", _named("tried"))
    return answer.json() if answer.status_code == 500 else None


def _named(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


def test_quota_that_is_used_up(ground: Ground) -> None:
    """A pod too many is forbidden, with the counts; a Deployment says so in a condition."""
    namespace = ground.namespace()
    path = f"/api/v1/namespaces/{namespace}"
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}
    ground.client.expect(201, "POST", f"{path}/resourcequotas", quota)
    if ground.world == "lab":
        wait(lambda: ground.client.get(f"{path}/resourcequotas/few").get("status", {}).get("hard"), "the quota counted")
    ground.pod(namespace, "first")
    answer = ground.client.ask("POST", f"{path}/pods", {"metadata": {"name": "second"}, "spec": web(None)})
    assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden")
    said = 'pods "second" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1'
    assert answer.json()["message"] == said
    template = {"metadata": {"labels": {"app": "more"}}, "spec": web(None)}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "more"}}, "template": template}
    where = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    ground.client.expect(201, "POST", where, {"metadata": {"name": "more"}, "spec": spec})

    def failure() -> Any:
        conditions = ground.client.get(f"{where}/more").get("status", {}).get("conditions", [])
        return [c for c in conditions if c["type"] == "ReplicaFailure" and c["status"] == "True"]

    [found] = wait(failure, "the condition")
    assert found["reason"] == "FailedCreate"
    assert "exceeded quota: few" in found["message"]


def test_claim_of_a_class_that_does_not_exist(ground: Ground) -> None:
    """It stays Pending, and so does its pod; nobody refuses it."""
    namespace = ground.namespace()
    claim = ground.claim(namespace, "lost", storageClassName="no-such-class")
    pods = f"/api/v1/namespaces/{namespace}/pods"
    ground.client.expect(201, "POST", pods, {"metadata": {"name": "waits"}, "spec": web("lost")})
    ground.pod(namespace, "other")  # by then the first would long be ready
    assert ground.client.get(claim)["status"]["phase"] == "Pending"
    assert ground.client.get(f"{pods}/waits")["status"]["phase"] == "Pending"


def test_node_port_that_is_taken(ground: Ground) -> None:
    """Refused as invalid, with the port."""
    namespace = ground.namespace()
    services = f"/api/v1/namespaces/{namespace}/services"
    spec: dict[str, Any] = {"type": "NodePort", "ports": [{"port": 80}]}
    first = ground.client.expect(201, "POST", services, _named("first") | {"spec": spec})
    port = first["spec"]["ports"][0]["nodePort"]
    wanted = {"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}
    answer = ground.client.ask("POST", services, _named("second") | {"spec": wanted})
    assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")
    assert f"Invalid value: {port}: provided port is already allocated" in answer.json()["message"]

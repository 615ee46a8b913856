"""The two worlds that must behave alike: the fake one, and the cluster of the lab's region a."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.contract.client import Client, wait
from tests.fakes import fake_world, seed
from tests.lab.the_lab import TheLab

IMAGE = "lab.local/busybox:1"


@dataclass
class Ground:
    """One of the worlds, with namespaces of our own that are removed in the end."""

    world: str
    client: Client
    fake: fake_world.World | None = None
    made: list[str] = field(default_factory=list)

    def namespace(self, **labels: str) -> str:
        name = f"contract-{uuid.uuid4().hex[:8]}"
        body = {"metadata": {"name": name, "labels": labels}}
        self.client.expect(201, "POST", "/api/v1/namespaces", body)
        self.made.append(name)
        accounts = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        wait(lambda: not self.client.gone(accounts), "the default account")
        return name

    def directory(self, namespace: str, claim: str) -> str:
        """Where a claim mounted at /data is found from inside its pod; the fake's pods see the host."""
        return "/data" if self.fake is None else str(self.fake.volume(namespace, claim))

    def pod(self, namespace: str, name: str, claim: str | None = None, **labels: str) -> str:
        """A pod with one container `web` that serves its volume by HTTP on 8080. Returns its path when it is ready."""
        pods = f"/api/v1/namespaces/{namespace}/pods"
        self.client.expect(201, "POST", pods, {"metadata": {"name": name, "labels": labels}, "spec": web(claim)})
        wait(lambda: is_ready(self.client.get(f"{pods}/{name}")), f"pod {name}")
        return f"{pods}/{name}"

    def claim(self, namespace: str, name: str, **spec: Any) -> str:
        claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
        wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}} | spec
        self.client.expect(201, "POST", claims, {"metadata": {"name": name}, "spec": wanted})
        return f"{claims}/{name}"

    def remove_namespaces(self) -> None:
        for name in self.made:
            self.client.ask("DELETE", f"/api/v1/namespaces/{name}")


def web(claim: str | None) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "web",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "mkdir -p /data; exec httpd -f -p 8080 -h /data"],
    }
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    if claim is not None:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    return spec


def is_ready(pod: dict[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))


@pytest.fixture(scope="module", params=["fake", pytest.param("lab", marks=pytest.mark.lab)])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """Fails where the lab is wanted and not up: a contract that nobody checked is none."""
    if request.param == "fake":
        with fake_world.serve() as world:
            seed.velero(world)
            yield Ground("fake", Client(world.admin_kubeconfig), world)
        return
    lab: TheLab = request.getfixturevalue("lab")
    real = Ground("lab", Client(Path(lab.env["KUBECONFIG_A"])))
    try:
        yield real
    finally:
        real.remove_namespaces()


@pytest.fixture(scope="module")
def namespace(ground: Ground) -> str:
    return ground.namespace()

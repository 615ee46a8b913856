"""Who may do what: roles and bindings mean the same to the fake API server and to the real one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.contract.conftest import Ground
from tests.tasks.outside import until

pytestmark = pytest.mark.slow
RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
FORBIDDEN = 403
KNOWN: dict[str, Any] = {"verbs": ["use"], "apiGroups": ["contract.example"], "resources": ["roles"]}
"""A right of every role here: who has it is known to the API server, which learns of a role a moment after its POST."""


@pytest.fixture(scope="module")
def place(ground: Ground, namespace: str) -> Iterator[str]:
    """A namespace with a pod and its claim; rights are judged by roles."""
    if ground.fake is not None:
        ground.fake.set(rbac=True)
    ground.pod(namespace, "web")
    yield namespace
    if ground.fake is not None:
        ground.fake.set(rbac=False)


class Somebody:
    """A user that has these rules, everywhere or in one namespace."""

    def __init__(self, ground: Ground, rules: list[dict[str, Any]], namespace: str | None) -> None:
        self.name = f"contract-{uuid.uuid4().hex[:8]}"
        self._client = ground.client
        where, kind = (f"{RBAC}/namespaces/{namespace}/", "Role") if namespace else (f"{RBAC}/", "ClusterRole")
        self._paths = [f"{where}{kind.lower()}bindings/{self.name}", f"{where}{kind.lower()}s/{self.name}"]
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.name}
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": self.name}
        role = {"metadata": {"name": self.name}, "rules": [*rules, KNOWN]}
        binding = {"metadata": {"name": self.name}, "roleRef": ref, "subjects": [subject]}
        for path, body in zip(self._paths, (binding, role), strict=True):
            self._client.expect(201, "POST", path.rpartition("/")[0], body)
        inside = {"namespace": namespace} if namespace else {}
        until(lambda: self.may("use", "contract.example", "roles", **inside))

    def ask(self, method: str, path: str, **query: Any) -> httpx.Response:
        return self._client.ask_impersonating(self.name, method, path, **query)

    def may(self, verb: str, group: str, resource: str, **more: str) -> bool:
        attributes = {"verb": verb, "group": group, "resource": resource, **more}
        answer = self._client.ask_impersonating(
            self.name, "POST", REVIEWS, {"spec": {"resourceAttributes": attributes}}
        )
        assert answer.status_code == httpx.codes.CREATED, answer.text
        return bool(answer.json()["status"]["allowed"])

    def gone(self) -> None:
        for path in self._paths:
            self._client.ask("DELETE", path)


@pytest.fixture
def user(ground: Ground, place: str) -> Iterator[Any]:
    made: list[Somebody] = []

    def make(*rules: tuple[str, str, str], namespace: str | None = None, names: list[str] | None = None) -> Somebody:
        written = [
            {
                "verbs": v.split(),
                "apiGroups": [g],
                "resources": r.split(),
                **({"resourceNames": names} if names else {}),
            }
            for v, g, r in rules
        ]
        made.append(Somebody(ground, written, namespace))
        return made[-1]

    yield make
    for one in made:
        one.gone()


def test_nothing_is_allowed_by_itself(user: Any, place: str) -> None:
    """403 with who, what and where; a namespace is asked for in itself. Discovery is free."""
    nobody = user(("get", "", "secrets"))
    refused = nobody.ask("GET", f"/api/v1/namespaces/{place}/pods")
    assert (refused.status_code, refused.json()["reason"]) == (FORBIDDEN, "Forbidden")
    said = f'User "{nobody.name}" cannot list resource "pods" in API group "" in the namespace "{place}"'
    assert said in refused.json()["message"]
    itself = nobody.ask("GET", f"/api/v1/namespaces/{place}").json()["message"]
    assert f'cannot get resource "namespaces" in API group "" in the namespace "{place}"' in itself
    volumes = nobody.ask("GET", "/apis/storage.k8s.io/v1/storageclasses").json()["message"]
    assert 'cannot list resource "storageclasses" in API group "storage.k8s.io" at the cluster scope' in volumes
    assert nobody.ask("GET", "/api/v1").status_code == httpx.codes.OK
    assert not nobody.may("list", "", "pods", namespace=place)


def test_verbs_and_groups(user: Any, place: str) -> None:
    """Each verb is a right of its own; so is each group; a list does not give what stands in it by name."""
    one = user(("list", "", "pods"), ("get", "apps", "deployments"))
    pods = f"/api/v1/namespaces/{place}/pods"
    assert one.ask("GET", pods).status_code == httpx.codes.OK
    assert one.ask("GET", f"{pods}/web").status_code == FORBIDDEN
    assert one.ask("GET", pods, watch="1", timeoutSeconds=1).status_code == FORBIDDEN
    assert one.may("get", "apps", "deployments", namespace=place)
    assert not one.may("get", "", "deployments", namespace=place)


def test_every_kind(user: Any, place: str) -> None:
    """`*` of `*` is asked for as that, and nothing less grants it."""
    everything, pods = user(("list", "*", "*")), user(("list", "", "pods"))
    assert everything.may("list", "*", "*")
    assert everything.may("list", "velero.io", "backups", namespace="velero")
    assert not everything.may("get", "*", "*")
    assert not pods.may("list", "*", "*")
    assert everything.ask("GET", f"/api/v1/namespaces/{place}/secrets").status_code == httpx.codes.OK


def test_subresources(user: Any, place: str) -> None:
    """`pods` does not mean what is below it, `*` does."""
    pod = f"/api/v1/namespaces/{place}/pods/web:8080/proxy/"
    assert user(("get", "", "pods")).ask("GET", pod).status_code == FORBIDDEN
    assert user(("get", "", "pods/proxy")).ask("GET", pod).status_code != FORBIDDEN
    assert user(("get", "*", "*")).may("get", "", "pods", subresource="proxy", namespace=place)
    assert not user(("get", "", "pods/proxy")).may("get", "", "pods", namespace=place)


@pytest.mark.parametrize(
    ("verbs", "is_allowed"), [("get", False), ("create", False), ("get create", True)], ids=["get", "create", "both"]
)
def test_command_in_a_pod(ground: Ground, user: Any, place: str, verbs: str, is_allowed: bool) -> None:
    """By WebSocket it takes both verbs (Kubernetes 1.35)."""
    one = user((verbs, "", "pods/exec"))
    ran = ground.client.run(f"/api/v1/namespaces/{place}/pods/web", "true", impersonating=one.name)
    assert (ran.code == httpx.codes.SWITCHING_PROTOCOLS) is is_allowed, ran


def test_in_one_namespace(user: Any, place: str) -> None:
    """What is granted in a namespace holds there, and for the namespace itself; not in others, nor in all of them."""
    one = user(("get list", "", "pods namespaces"), namespace=place)
    assert one.ask("GET", f"/api/v1/namespaces/{place}/pods").status_code == httpx.codes.OK
    assert one.ask("GET", f"/api/v1/namespaces/{place}").status_code == httpx.codes.OK
    assert one.ask("GET", "/api/v1/namespaces/default/pods").status_code == FORBIDDEN
    assert not one.may("list", "", "pods")
    assert not one.may("get", "", "namespaces")


def test_by_name(user: Any, place: str) -> None:
    """A right to one object is none to its neighbours."""
    one = user(("get", "", "namespaces"), names=["kube-system"])
    assert one.ask("GET", "/api/v1/namespaces/kube-system").status_code == httpx.codes.OK
    assert one.ask("GET", f"/api/v1/namespaces/{place}").status_code == FORBIDDEN
    assert one.may("get", "", "namespaces", name="kube-system")
    assert not one.may("get", "", "namespaces")

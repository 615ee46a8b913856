"""The door to Kubernetes, against a server that answers wrongly, late, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from runbooks.errors import RecoveryError, Refused, Unavailable
from runbooks.site import Cluster
from tasks.clients import kubernetes
from tasks.clients.kubernetes import Api, Conflict, Exists, Forbidden, Missing, Object, Unheard, Unsupported
from tests.fakes import fake_world
from tests.fakes.fake_world import World

pytestmark = pytest.mark.slow

MAP = ("v1", "ConfigMap")
SOON = timedelta(seconds=1)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with fake_world.serve() as made:
        made.api("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
        yield made


@pytest.fixture
def api(world: World) -> Iterator[Api]:
    with kubernetes.connect(cluster(world)) as made:
        yield made
    world.release()
    world.allow_all()


def cluster(world: World, **changed: object) -> Cluster:
    known = Cluster(kubeconfig=world.runner_kubeconfig, uid=world.cluster_uid, ca_sha256=world.ca_sha256)
    return known.model_copy(update=changed)


def a_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


# -- who answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"uid": "another"}, "UID of kube-system is"), ({"ca_sha256": "00" * 32}, "API CA is")],
    ids=["uid", "ca"],
)
def test_another_cluster(world: World, changed: dict[str, object], named: str) -> None:
    """A context that was pointed elsewhere is not used, for nothing."""
    with pytest.raises(Refused, match="another cluster is behind context") as raised:
        kubernetes.connect(cluster(world, **changed))
    assert named in raised.value.problem
    assert "dr site pin" in raised.value.hint


def test_pin_as_openssl_prints_it(world: World) -> None:
    """Upper case with colons is the same fingerprint."""
    pairs = [world.ca_sha256[i : i + 2].upper() for i in range(0, 64, 2)]
    kubernetes.connect(cluster(world, ca_sha256=":".join(pairs)))


def test_identity(world: World) -> None:
    """What `dr site pin` writes is what `connect` wants."""
    found = kubernetes.identify(cluster(world, uid="?", ca_sha256="?"))
    assert (found.uid, found.ca_sha256, found.server) == (world.cluster_uid, (world.ca_sha256,), world.kubernetes)


def test_no_kubeconfig(world: World, tmp_path: Path) -> None:
    """The file is named."""
    with pytest.raises(Refused, match=r"no usable configuration for context .current. of .*/nope"):
        kubernetes.connect(cluster(world, kubeconfig=tmp_path / "nope"))


def test_unknown_context(world: World) -> None:
    """It is named, and nothing else is used in its place."""
    with pytest.raises(Refused, match="no usable configuration for context nope"):
        kubernetes.connect(cluster(world, context="nope"))


@pytest.mark.parametrize("more", [{}, {"insecure-skip-tls-verify": True}], ids=["no-ca", "insecure"])
def test_unverified_server(world: World, tmp_path: Path, more: dict[str, bool]) -> None:
    """Without a CA any server could answer, and the pins would prove nothing."""
    config = yaml.safe_load(world.admin_kubeconfig.read_text())
    config["clusters"][0]["cluster"] = {"server": world.kubernetes, **more}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(Refused, match="without verifying its certificate"):
        kubernetes.connect(cluster(world, kubeconfig=file), within=SOON)


def test_nobody_listens(world: World, tmp_path: Path) -> None:
    """Given up when the time is up, and not before it was tried again."""
    file = tmp_path / "kubeconfig"
    file.write_text(world.runner_kubeconfig.read_text().replace(world.kubernetes, "https://127.0.0.1:1"))
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"no answer from https://127\.0\.0\.1:1"):
        kubernetes.connect(cluster(world, kubeconfig=file), within=SOON)
    assert time.monotonic() - began < 1.5


# -- statuses ---------------------------------------------------------------------------------------------------------

BY_STATUS: dict[int, type[RecoveryError]] = {
    400: Refused, 401: Refused, 403: Forbidden, 404: Missing, 405: Unsupported, 406: Refused, 408: Unheard,
    409: Conflict, 410: Unheard, 413: Refused, 415: Refused, 422: Conflict, 429: Unheard, 500: Unheard,
    502: Unheard, 503: Unheard, 504: Unheard, 301: Unheard, 307: Unheard, 666: Unheard,
}  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), BY_STATUS.items(), ids=map(str, BY_STATUS))
def test_status_of_a_write(world: World, api: Api, status: int, kind: type[RecoveryError]) -> None:
    """Each leaves as the error that says what to do next, and the write is sent once."""
    world.fault("status", method="POST", path="/configmaps", status=status, times=None)
    before = len(world.writes())
    with pytest.raises(RecoveryError, match=f"POST /api/v1/namespaces/shop/configmaps: {status}") as raised:
        api.create(*MAP, a_map("x"), namespace="shop")
    assert type(raised.value) is kind
    assert len(world.writes()) == before + 1


@pytest.mark.parametrize("act", ["status", "close"])
def test_read_that_is_answered_at_last(world: World, api: Api, act: str) -> None:
    """Reads are asked again, half a second apart."""
    world.fault(act, method="GET", path="/namespaces/shop$", times=2)
    assert api.get("v1", "Namespace", "shop")["metadata"]["name"] == "shop"


def test_rights_that_are_missing(world: World, api: Api) -> None:
    """The error names verb and resource, and where to grant it."""
    world.deny("create", "configmaps")
    with pytest.raises(Forbidden, match=r"cannot create resource .configmaps") as raised:
        api.create(*MAP, a_map("x"), namespace="shop")
    assert "rbac.yaml" in raised.value.hint


def test_foreign_text_is_clipped(world: World, api: Api) -> None:
    """An answer may hold anything, and an error is shown everywhere."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "message": "x" * 10_000,
        "reason": "Invalid",
        "details": {"name": "x"},
    }
    world.fault("status", method="POST", path="/configmaps", status=422, body=body)
    with pytest.raises(Refused) as raised:
        api.create(*MAP, a_map("x"), namespace="shop")
    assert len(raised.value.problem) < 400


# -- objects ----------------------------------------------------------------------------------------------------------


def test_made_twice(api: Api) -> None:
    """The second is told that it exists, not that something conflicts."""
    api.create(*MAP, a_map("twice"), namespace="shop")
    with pytest.raises(Exists):
        api.create(*MAP, a_map("twice"), namespace="shop")


def test_delete_of_another_one(api: Api) -> None:
    """A name that belongs to another object by now is left alone."""
    api.create(*MAP, a_map("pinned"), namespace="shop")
    with pytest.raises(Conflict):
        api.delete(*MAP, "pinned", namespace="shop", uid="that of yesterday")
    found = api.get(*MAP, "pinned", namespace="shop")
    api.delete(*MAP, "pinned", namespace="shop", uid=found["metadata"]["uid"])
    with pytest.raises(Missing):
        api.get(*MAP, "pinned", namespace="shop")


def test_patch_whose_test_fails(api: Api) -> None:
    """Nothing of it is done."""
    api.create(*MAP, a_map("tested", COLOR="blue"), namespace="shop")
    change = {"op": "replace", "path": "/data/COLOR", "value": "red"}
    wrong = {"op": "test", "path": "/metadata/uid", "value": "another"}
    with pytest.raises(Conflict):
        api.json_patch(*MAP, "tested", [wrong, change], namespace="shop")
    assert api.get(*MAP, "tested", namespace="shop")["data"] == {"COLOR": "blue"}
    assert api.json_patch(*MAP, "tested", [change], namespace="shop")["data"] == {"COLOR": "red"}


def test_merge_patch_of_an_old_version(api: Api) -> None:
    """Whoever changed it meanwhile is not overwritten."""
    old = api.create(*MAP, a_map("versioned"), namespace="shop")["metadata"]["resourceVersion"]
    api.patch(*MAP, "versioned", {"data": {"a": "1"}}, namespace="shop")
    with pytest.raises(Conflict):
        api.patch(*MAP, "versioned", {"metadata": {"resourceVersion": old}, "data": {"a": "2"}}, namespace="shop")


def test_list(api: Api) -> None:
    """Items know their kind; selectors are the server's."""
    for name, colour in (("one", "blue"), ("two", "red")):
        body = a_map(name)
        body["metadata"]["labels"] = {"colour": colour}
        api.create(*MAP, body, namespace="shop")
    [found] = api.list(*MAP, namespace="shop", selector="colour=red")
    assert (found["apiVersion"], found["kind"], found["metadata"]["name"]) == ("v1", "ConfigMap", "two")


def test_discovery(api: Api) -> None:
    """Each namespaced kind that can be listed, once; neither cluster-scoped ones nor subresources."""
    labels = [r.label for r in api.discovered.resources]
    assert {"pods", "deployments.apps", "restores.velero.io", "endpointslices.discovery.k8s.io"} <= set(labels)
    assert not {"namespaces", "pods/exec", "selfsubjectaccessreviews.authorization.k8s.io"} & set(labels)
    assert len(labels) == len(set(labels))


def test_discovery_with_a_group_that_is_down(world: World) -> None:
    """It is named, and all the others are still listed."""
    world.fault("status", method="GET", path="/apis/policy/v1$", status=503, times=None)
    with kubernetes.connect(cluster(world)) as api:
        found = api.discovered
    world.release()
    assert found.unlistable == ("policy/v1",)
    assert "deployments.apps" in {r.label for r in found.resources}


# -- following --------------------------------------------------------------------------------------------------------


def follow_to_blue(world: World, api: Api, name: str, disturb: Callable[[], object]) -> float:
    """Seconds from the change to its sight."""
    api.create(*MAP, a_map(name), namespace="shop")
    changed_at: float | None = None
    for seen in api.follow(*MAP, namespace="shop", name=name, within=timedelta(seconds=8)):
        if seen[name].get("data", {}).get("COLOR") == "blue":
            assert changed_at is not None
            return time.monotonic() - changed_at
        if changed_at is None:
            disturb()
            changed_at = time.monotonic()
            world.patch(f"/api/v1/namespaces/shop/configmaps/{name}", {"data": {"COLOR": "blue"}})
    raise AssertionError("the change was never seen")


def test_follow(world: World, api: Api) -> None:
    """A change is seen at once."""
    assert follow_to_blue(world, api, "followed", lambda: None) < 0.3


def test_follow_after_a_compaction(world: World, api: Api) -> None:
    """A watch whose version is gone begins again with a list."""
    assert follow_to_blue(world, api, "compacted", world.cut_watches) < 1.5


def test_follow_where_watching_is_forbidden(world: World, api: Api) -> None:
    """It looks twice a second instead."""
    assert follow_to_blue(world, api, "polled", lambda: world.deny("watch", "configmaps")) < 1.5


def test_follow_through_an_outage(world: World, api: Api) -> None:
    """An API server that is away for a moment does not end it."""

    def outage() -> None:
        world.fault("status", method="GET", path="/configmaps", status=503, times=2)

    assert follow_to_blue(world, api, "outage", outage) < 3


def test_follow_a_deletion(world: World, api: Api) -> None:
    """What is gone is no longer among what is seen."""
    api.create(*MAP, a_map("going"), namespace="shop")
    states = []
    for seen in api.follow(*MAP, namespace="shop", name="going", within=timedelta(seconds=5)):
        states.append(set(seen))
        if not seen:
            break
        world.api("DELETE", "/api/v1/namespaces/shop/configmaps/going")
    assert states[-1] == set()


def test_follow_what_never_changes(api: Api) -> None:
    """It ends when the time is up, without an error."""
    began = time.monotonic()
    seen = list(api.follow(*MAP, namespace="shop", name="absent", within=SOON))
    assert seen
    assert not any(seen)
    assert 0.9 < time.monotonic() - began < 2.5


# -- pods -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pod(world: World) -> str:
    spec = {"containers": [{"name": "web", "image": "lab.local/busybox:1", "command": ["sleep", "100"]}]}
    world.api("POST", "/api/v1/namespaces/shop/pods", {"metadata": {"name": "web"}, "spec": spec})
    where = "/api/v1/namespaces/shop/pods/web"
    world.wait(lambda: world.api("GET", where).get("status", {}).get("phase") == "Running", "the pod")
    return "web"


def test_exec(api: Api, pod: str) -> None:
    """Both streams byte by byte, however long, and the exit code."""
    script = "head -c 3000000 /dev/zero; printf 'a\\0b' >&2; exit 7"
    done = api.exec("shop", pod, "web", ["sh", "-c", script])
    assert (len(done.stdout), done.stderr, done.exit_code) == (3_000_000, b"a\0b", 7)


def test_exec_that_succeeds(api: Api, pod: str) -> None:
    """Exit code 0."""
    assert api.exec("shop", pod, "web", ["true"]).exit_code == 0


def test_exec_that_hangs(api: Api, pod: str) -> None:
    """Given up when the time is up."""
    began = time.monotonic()
    with pytest.raises(Unavailable, match="sleep in container web did not end within 1 s"):
        api.exec("shop", pod, "web", ["sleep", "20"], within=SOON)
    assert time.monotonic() - began < 2


def test_exec_without_the_program(api: Api, pod: str) -> None:
    """That is no exit code."""
    with pytest.raises(Unavailable, match="exec did not start"):
        api.exec("shop", pod, "web", ["no-such-program"])


def test_exec_in_no_pod(api: Api) -> None:
    """The handshake's status is judged as any other."""
    with pytest.raises(Missing):
        api.exec("shop", "nope", "web", ["true"])


def test_exec_forbidden(world: World, api: Api, pod: str) -> None:
    """Named as a right that is missing."""
    world.deny("get", "pods", subresource="exec")
    world.deny("create", "pods", subresource="exec")
    with pytest.raises(Forbidden):
        api.exec("shop", pod, "web", ["true"])


def test_hanging_server(world: World, api: Api) -> None:
    """A question with a time limit keeps it."""
    world.fault("hang", method="GET", path="/proxy/", seconds=20)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="no answer from"):
        api.proxied("shop", "web", 8080, "/health", within=SOON)
    assert time.monotonic() - began < 2

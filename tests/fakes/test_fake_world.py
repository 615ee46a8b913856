"""What tests rely on when they steer the fake world: faults, records, failures. Its honesty is tests/contract's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from kubernetes import client, config
from kubernetes.stream import stream

from tests.fakes import fake_world, seed
from tests.fakes.fake_world import World
from tests.fakes.nursery import ROOT

pytestmark = pytest.mark.slow

MAPS = "/api/v1/namespaces/production/configmaps"
NAMESPACE = "/api/v1/namespaces/production"
VOLUMES = "/api/v1/persistentvolumes"
RUNNER = {"Authorization": "Bearer token-of-runner"}


@pytest.fixture
def world() -> Iterator[World]:
    with fake_world.serve() as made:
        seed.everything(made)
        made.set(rbac=False)  # what it answers is looked at here, not who may ask
        yield made


@pytest.fixture(scope="module")
def steady() -> Iterator[World]:
    """For tests that leave no trace, or none that others mind."""
    with fake_world.serve() as made:
        seed.everything(made)
        made.set(rbac=False)  # what it answers is looked at here, not who may ask
        yield made


def as_runner(world: World, method: str, path: str, body: Any = None, timeout: float = 10) -> httpx.Response:
    return httpx.request(method, world.kubernetes + path, headers=RUNNER, json=body, verify=False, timeout=timeout)


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {}}


def in_background(act: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


# -- faults -----------------------------------------------------------------------------------------------------------


def test_status_instead_of_an_answer(steady: World) -> None:
    """As often as it was asked for, after those that were to pass; nothing is done."""
    fault = steady.fault("status", status=503, method="POST", path="/configmaps", skip=1, times=2)
    seen = [as_runner(steady, "POST", MAPS, config_map(f"status-{number}")).status_code for number in range(4)]
    assert seen == [201, 503, 503, 201]
    assert steady.hits(fault) == 2
    assert steady.find(f"{MAPS}/status-1") is None
    assert [one.status for one in steady.writes()[-4:]] == [201, None, None, 201]


def test_answer_held_back_after_the_work(steady: World) -> None:
    """The change is made while its answer is still held: the moment to kill a client."""
    fault = steady.fault("hang", method="POST", path="/configmaps", after_work=True)
    thread = in_background(lambda: as_runner(steady, "POST", MAPS, config_map("held")))
    steady.wait_until_held(fault)
    assert steady.find(f"{MAPS}/held") is not None
    assert thread.is_alive()
    steady.release(fault)
    thread.join(5)
    assert not thread.is_alive()


def test_request_held_before_the_work(steady: World) -> None:
    fault = steady.fault("hang", method="POST", path="/configmaps")
    thread = in_background(lambda: as_runner(steady, "POST", MAPS, config_map("late")))
    steady.wait_until_held(fault)
    assert steady.find(f"{MAPS}/late") is None
    steady.release(fault)
    thread.join(5)
    assert steady.find(f"{MAPS}/late") is not None


def test_closed_connection(steady: World) -> None:
    """With the work done or not."""
    for name, after_work in (("closed-before", False), ("closed-after", True)):
        steady.fault("close", method="POST", path="/configmaps", after_work=after_work)
        with pytest.raises(httpx.RemoteProtocolError):
            as_runner(steady, "POST", MAPS, config_map(name))
        assert (steady.find(f"{MAPS}/{name}") is not None) == after_work


def test_fault_for_one_user(steady: World) -> None:
    """The observer goes on while the runner is refused."""
    fault = steady.fault("status", path="/configmaps", user="runner", times=None)
    assert as_runner(steady, "GET", MAPS).status_code == 503
    assert steady.find(MAPS) is not None
    steady.release(fault)
    assert as_runner(steady, "GET", MAPS).status_code == 200


def test_application_that_hangs(steady: World) -> None:
    fault = steady.fault("hang", server="application", path="/health")
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{steady.application}/health", timeout=0.3)
    steady.release(fault)
    assert httpx.get(f"{steady.application}/health").json() == {"status": "UP"}


def test_misspelt_fault(steady: World) -> None:
    with pytest.raises(AssertionError, match="meth0d"):
        steady.fault("status", meth0d="GET")


def test_denied(steady: World) -> None:
    """403 as the API server words it, and no by a review; the administrator may still."""
    steady.deny("delete", "namespaces")
    refused = as_runner(steady, "DELETE", NAMESPACE)
    assert refused.status_code == 403
    assert 'User "runner" cannot delete resource "namespaces"' in refused.json()["message"]
    asked = {"spec": {"resourceAttributes": {"verb": "delete", "resource": "namespaces"}}}
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert as_runner(steady, "POST", reviews, asked).json()["status"] == {"allowed": False}
    steady.allow_all()
    assert as_runner(steady, "POST", reviews, asked).json()["status"] == {"allowed": True}


def test_watch_cut_off(steady: World) -> None:
    """An ERROR event with 410, and from an old version nothing else either."""
    old = steady.api("GET", MAPS)["metadata"]["resourceVersion"]
    steady.cut_watches()
    url = f"{steady.kubernetes}{MAPS}?watch=1&resourceVersion={old}"
    with httpx.stream("GET", url, headers=RUNNER, verify=False) as answer:
        events = [json.loads(line) for line in answer.iter_lines()]
    assert [(one["type"], one["object"]["code"]) for one in events] == [("ERROR", 410)]


# -- records ----------------------------------------------------------------------------------------------------------


def test_writes(world: World) -> None:
    """Only the runner's, and no dry runs; the same change twice is found."""
    body = {"data": {"a": "1"}}
    as_runner(world, "POST", f"{MAPS}?dryRun=All", config_map("dry"))
    as_runner(world, "POST", MAPS, config_map("once"))
    assert [(one.method, one.status) for one in world.writes()] == [("POST", 201)]
    assert world.repeated_writes() == []
    for _ in range(2):
        httpx.patch(
            f"{world.kubernetes}{MAPS}/once", json=body, verify=False,
            headers=RUNNER | {"Content-Type": "application/merge-patch+json"},
        )  # fmt: skip
    [repeated] = world.repeated_writes()
    assert repeated.startswith(f"PATCH {MAPS}/once")


def test_world_like_another(tmp_path: Path) -> None:
    """It holds what that one held, is served the same way, and what becomes of it is its own."""
    secrets, files = "/api/v1/namespaces/production/secrets", "invoices/12345.txt"
    with fake_world.serve(tmp_path / "kept") as kept:
        seed.everything(kept)
        before, record = kept.api("GET", secrets)["items"], seed.manifests(kept)
        kept.keep()
    with (
        fake_world.serve(tmp_path / "first", like=tmp_path / "kept") as first,
        fake_world.serve(tmp_path / "second", like=tmp_path / "kept") as second,
    ):
        assert [second.api("GET", secrets)["items"], second.cluster_uid] == [before, kept.cluster_uid]
        assert [one.files for one in seed.manifests(second)] == [one.files for one in record]
        assert (second.api("GET", VOLUMES)["items"][0]["spec"]["local"]["path"]).startswith(str(tmp_path / "second"))
        (first.volume("production", "invoices") / files).unlink()
        first.api("DELETE", NAMESPACE)
        first.wait(lambda: first.find(NAMESPACE) is None, "its end")
        assert (second.volume("production", "invoices") / files).exists()
        assert httpx.get(f"{second.application}/health").json() == {"status": "UP"}
        seed.back_up(second, "from-there")


# -- the process ------------------------------------------------------------------------------------------------------


def test_world_ends_with_its_parent(tmp_path: Path) -> None:
    """A killed test run leaves nothing behind."""
    program = (
        "from pathlib import Path; from tests.fakes import fake_world; import sys, time\n"
        f"with fake_world.serve(Path({str(tmp_path)!r})) as world: print(world.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_stopped_world(world: World) -> None:
    """SIGSTOP is the fault that refuses nothing and answers nothing."""
    os.kill(world.pid, signal.SIGSTOP)
    with pytest.raises(httpx.TimeoutException):
        as_runner(world, "GET", NAMESPACE, timeout=0.3)
    os.kill(world.pid, signal.SIGCONT)
    assert as_runner(world, "GET", NAMESPACE).status_code == 200


def test_kubernetes_client_of_others(steady: World) -> None:
    """The public Python client lists, and runs a command."""
    settings = client.Configuration()
    config.load_kube_config(  # type: ignore[no-untyped-call]
        str(steady.runner_kubeconfig), client_configuration=settings
    )
    api = client.CoreV1Api(client.ApiClient(settings))
    pods = api.list_namespaced_pod("production", label_selector="app=orders").items
    assert len(pods) == 3
    command = ["sh", "-c", f"cat {steady.volume('production', 'invoices')}/seed.json"]
    said = stream(
        api.connect_get_namespaced_pod_exec,
        str(pods[0].metadata and pods[0].metadata.name),
        "production",
        command=command,
    )
    assert said.strip() == '{"invoices": 10}'

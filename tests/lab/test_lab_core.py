"""The lab's own promises: nothing is left behind, only our own is killed, a region and a cluster really die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest

from deployments.lab import cgroups, kube, lifecycle, network, process, remains
from deployments.lab.binaries import Binaries
from deployments.lab.cluster import Cluster
from deployments.lab.component import LabError, wait_for
from deployments.lab.lab import PROJECT, Lab
from deployments.lab.object_store import ObjectStore
from deployments.lab.region import Namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.lab, pytest.mark.own_lab]
NUMBER = 6


@pytest.fixture
def empty() -> Iterator[Lab]:
    """A lab of its own, not started. Under /tmp, where a clone may lie too, though every region hides /tmp."""
    root = Path(mkdtemp(prefix="dr-lab-core-"))
    root.chmod(0o755)
    lab = Lab(root / ".lab", NUMBER)
    try:
        yield lab
    finally:
        lifecycle.down(lab)
        rmtree(root, ignore_errors=True)


@pytest.fixture
def region(empty: Lab) -> Namespaces:
    """Region a of that lab, with nothing in it."""
    namespaces = Namespaces(empty.regions["a"])
    namespaces.start(empty)
    return namespaces


def dr(lab: Lab, *arguments: str, **extra: str) -> subprocess.Popen[str]:
    """`dr lab …` as a person would start it."""
    env = {**os.environ, **extra, "DR_LAB_ROOT": str(lab.root), "DR_LAB_NUMBER": str(lab.number)}
    argv = [sys.executable, "-m", "deployments.lab.cli", *arguments]
    return subprocess.Popen(argv, cwd=PROJECT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finished(command: subprocess.Popen[str], *, seconds: float = 60) -> str:
    said, _ = command.communicate(timeout=seconds)
    assert command.returncode == 0, said
    return said


@dataclass(frozen=True)
class Traces:
    """What a lab could leave on a machine; of what others use at the same time, only our part."""

    mounts: str
    rules: str
    forwarding: str
    links: list[str]
    routes: list[str]
    groups: list[str]
    processes: list[int]


def traces(lab: Lab) -> Traces:
    names = [region.cgroup for region in lab.regions.values()]
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout.splitlines()
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout.splitlines()
    return Traces(
        mounts=Path("/proc/self/mounts").read_text(),
        rules="\n".join(line for line in rules if line.startswith(("-", "*"))),
        forwarding=Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        links=[link for link in network.links() if link.startswith((f"drlab{lab.number}", f"drlink{lab.number}"))],
        routes=[route for route in routes if f"10.{200 + lab.number}." in route],
        groups=[str(path) for name in names for path in cgroups.MOUNT.glob(f"**/{name}")],
        processes=sorted(remains.marked(lab)),
    )


@pytest.mark.parametrize("seconds", [0.6, 1.5, 3, 6])
def test_up_is_killed(empty: Lab, seconds: float) -> None:
    """Whenever a whole `up` is killed, `down` leaves the machine as it was."""
    before = traces(empty)
    up = dr(empty, "up", "--regions", "a,b")
    wait_for(lambda: empty.running("region-a"), what="region a", seconds=30, hint="")
    sleep(seconds)  # the point is to strike at no particular moment
    up.send_signal(signal.SIGKILL)
    up.communicate()
    assert traces(empty) != before
    finished(dr(empty, "down"))
    assert traces(empty) == before
    assert not empty.root.exists()


def test_up_is_killed_while_it_compiles(empty: Lab, tmp_path: Path) -> None:
    """The compiler is ended too, and its half-built programs are not taken for whole ones."""
    up = dr(empty, "up", XDG_CACHE_HOME=str(tmp_path))
    draft = "dr-runbooks/bin/building-*"
    wait_for(lambda: next(tmp_path.glob(draft), None), what="a build", seconds=30, hint="")
    wait_for(lambda: True if len(remains.marked(empty)) > 2 else None, what="the compiler", seconds=10, hint="")
    up.send_signal(signal.SIGKILL)
    up.communicate()
    finished(dr(empty, "down"))
    assert remains.marked(empty) == {}
    assert not list(tmp_path.glob("dr-runbooks/bin/kubernetes-*"))


def test_down_keeps_evidence(empty: Lab) -> None:
    """And nothing else."""
    empty.folder("evidence", "run-1").joinpath("report.json").write_text("{}")
    empty.path("a", "kubeconfig").write_text("")
    lifecycle.down(empty)
    assert sorted(path.name for path in empty.root.iterdir()) == ["evidence"]
    assert empty.root.joinpath("evidence", "run-1", "report.json").exists()


def test_pid_belongs_to_a_stranger(empty: Lab) -> None:
    """A process that has the pid that we wrote down, and did not start when ours did, is not killed."""
    ours = empty.spawn("sleeper", ["sleep", "1000"])
    sleep(0.05)  # the kernel's stamps have a resolution of 10 ms
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        record = empty.path("run", "sleeper.json")
        record.write_text(record.read_text().replace(f'"pid": {ours.pid}', f'"pid": {stranger.pid}'))
        assert empty.running("sleeper") is None
        empty.kill("sleeper")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert process.lives(ours)
    lifecycle.down(empty)
    assert not process.lives(ours)


def test_session_is_killed_with_its_leader(empty: Lab) -> None:
    """A daemon's orphaned workers go with it."""
    leader = empty.spawn("leader", ["sh", "-c", "sleep 1001 & sleep 1002 & wait"])
    workers = wait_for(lambda: process.children(leader.pid) or None, what="workers", seconds=5, hint="")
    empty.kill("leader")
    wait_for(lambda: None if any(map(process.stat, workers)) else True, what="end of workers", seconds=2, hint="")


def test_number_is_taken(empty: Lab, tmp_path: Path) -> None:
    """A second lab with the same addresses is refused before it touches anything, and told of a free number."""
    empty.spawn("sleeper", ["sleep", "1000"])
    second = Lab(tmp_path / ".lab", empty.number)
    with pytest.raises(LabError, match=f"lab number {NUMBER} is in use by {empty.root}") as refusal:
        lifecycle.up(second, ["a"], print)
    assert f"DR_LAB_NUMBER={NUMBER + 1}" in refusal.value.hint
    assert second.running("region-a") is None


def test_down_beside_another_lab_of_that_number(empty: Lab, region: Namespaces, tmp_path: Path) -> None:
    """`make clean` in a second clone leaves the lab of the first alone, its wires and control groups too."""
    cgroups.make(region.region.cgroup)
    before = traces(empty)
    lifecycle.down(Lab(tmp_path / ".lab", empty.number))
    assert traces(empty) == before
    assert "answered the host" in region.prove(empty).proof


def test_two_commands_at_once(empty: Lab) -> None:
    """The second says so instead of undoing the work of the first."""
    with lifecycle.only_one(empty), pytest.raises(LabError, match="another dr lab up or down is at work"):
        lifecycle.down(empty)


def test_region_is_killed(empty: Lab, region: Namespaces) -> None:
    """One SIGKILL of its first process ends all that runs in it; `up` makes it again."""
    inside = empty.spawn("inside", ["sleep", "1000"], region="a")
    assert "answered the host" in region.prove(empty).proof
    os.kill(int(region.environment(empty)["REGION_PID_A"]), signal.SIGKILL)
    wait_for(lambda: None if process.lives(inside) else True, what="end of the region", seconds=2, hint="")
    with pytest.raises(LabError, match="its first process is dead"):
        region.prove(empty)
    region.start(empty)
    assert "answered the host" in region.prove(empty).proof


def test_region_that_has_a_way_out(empty: Lab, region: Namespaces) -> None:
    """The proof is red when something answers at the address of cloud metadata."""
    empty.run(["ip", "address", "add", "169.254.169.254/32", "dev", "lo"], region="a")
    server = [str(empty.python), "-m", "http.server", "80", "--bind", "169.254.169.254"]
    empty.spawn("metadata", server, region="a")
    ask = [str(empty.python), "-c", "import socket; socket.create_connection(('169.254.169.254', 80), 1)"]
    wait_for(lambda: [empty.run(ask, region="a")], what="the server", seconds=10, hint="")
    with pytest.raises(LabError, match=r"reaches 169\.254\.169\.254"):
        region.prove(empty)


def test_regions_reach_each_other(empty: Lab, region: Namespaces) -> None:
    """Over a wire of their own, which comes back with a region that died; the host forwards nothing."""
    other = Namespaces(empty.regions["b"])
    other.start(empty)
    refused(empty, "a", other.region.address)
    region.stop(empty)
    region.start(empty)
    refused(empty, "a", other.region.address)
    refused(empty, "b", region.region.address)


def refused(lab: Lab, region: str, address: str) -> None:
    """Nobody listens there, and the refusal is an answer."""
    probe = "import socket, sys; sys.exit(socket.socket().connect_ex((sys.argv[1], 1)))"
    with pytest.raises(LabError, match="ended with 111"):
        lab.run([str(lab.python), "-c", probe, address], region=region, seconds=5)


def test_cluster_is_killed(empty: Lab, region: Namespaces) -> None:
    """Its region lives on, and the next cluster in it is another one: fresh, with another identity."""
    Binaries(print).start(empty)
    cluster = Cluster(region.region, list)
    cluster.start(empty)
    assert "node Ready" in cluster.prove(empty).proof
    neighbour = empty.spawn("neighbour", ["sleep", "1000"], region="a")
    first = kube.api(empty, region.region).get("/api/v1/namespaces/kube-system") or {}
    os.kill(int(cluster.environment(empty)["CLUSTER_PID_A"]), signal.SIGKILL)
    wait_for(lambda: None if empty.running("etcd-a") else True, what="end of the cluster", seconds=5, hint="")
    with pytest.raises(LabError, match="its first process is dead"):
        cluster.prove(empty)
    assert process.lives(neighbour)
    cluster.start(empty)
    second = kube.api(empty, region.region).get("/api/v1/namespaces/kube-system") or {}
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert process.lives(neighbour)


def test_part_of_a_cluster_is_killed(empty: Lab, region: Namespaces) -> None:
    """`up` mends it: same cluster, and what lived was left alone."""
    Binaries(print).start(empty)
    cluster = Cluster(region.region, list)
    cluster.start(empty)
    before = {name: empty.running(name) for name in ("etcd-a", "kube-scheduler-a", "kubelet-a", "cluster-a")}
    empty.kill("kube-scheduler-a")
    with pytest.raises(LabError, match="kube-scheduler ended"):
        cluster.prove(empty)
    cluster.start(empty)
    after = {name: empty.running(name) for name in before}
    assert {name for name in before if before[name] != after[name]} == {"kube-scheduler-a"}
    assert "node Ready" in cluster.prove(empty).proof


def test_object_store_hangs(empty: Lab, region: Namespaces) -> None:
    """A port that is open is no proof: a stopped server is red within seconds, and green when it goes on."""
    store = ObjectStore(region.region)
    store.start(empty)
    running = empty.running(store.name)
    assert running is not None
    os.kill(running.pid, signal.SIGSTOP)
    begun = monotonic()
    with pytest.raises(LabError, match=r"timed? ?out"):
        store.prove(empty)
    assert monotonic() - begun < 10
    os.kill(running.pid, signal.SIGCONT)
    assert "PUT, GET and DELETE" in store.prove(empty).proof

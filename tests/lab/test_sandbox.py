"""Real drills beside the original: a copy that reaches nothing, an original that does not notice, and nothing left."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runbooks.records import CheckStatus
from runbooks.report_schema import Report
from tests.lab import secret_search
from tests.lab.test_drills import poller as poller
from tests.lab.test_drills import run_id as run_id
from tests.lab.test_drills import wait_for
from tests.lab.the_lab import DR, ROOT, TheLab, run

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
NEW = (
    "run",
    "namespace-deletion",
    "--site",
    "lab",
    "--mode",
    "drill",
    "--impact",
    "sandbox",
    "--yes",
    "--no-server",
    "--take-over",
)
NOT_RECOVERED = 1
HYDRATED = ("done", "sandbox.wait_until_hydrated")
TRY = "sandbox_application.try_it"
DATABASE_UP, POD_MADE, STARTED = ("event", TRY), ("write", TRY), ("application", TRY)
SCRATCH = ROOT / ".lab" / "a" / "pg" / "restore-test"
REACH = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
GATEWAY_BACK = """
for n in /run/containerd/*/netns/* /run/netns/*; do
    [ -e "$n" ] && nsenter --net="$n" ip route replace default via "$1" dev eth0 onlink 2>/dev/null
done; true
"""
CLUSTERS_OWN = ("kube", "k8s")
CONNECTS = "timeout 2 nc -w 1 {0} {1} </dev/null >/dev/null 2>&1; [ $? -ne 1 ] && echo reached || echo not reached"
FILES = "cd {0}; find invoices -type f | sort | xargs sha256sum"
CLAIM = "invoices"


@contextmanager
def drilling(lab: TheLab, run_id: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A run that stands still (SIGSTOP) where its copy is complete and nobody has looked at it yet."""
    argv = [*DR, *NEW, "--run-id", run_id, *more]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for(lab, run_id, process, *HYDRATED, seconds=300)
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.wait()


def go_on_until(lab: TheLab, run_id: str, process: subprocess.Popen[str], *entry: str) -> None:
    """It stands still again there."""
    process.send_signal(signal.SIGCONT)
    wait_for(lab, run_id, process, *entry, seconds=180)
    process.send_signal(signal.SIGSTOP)


def ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=240)
    return output


def everything(lab: TheLab) -> dict[str, Any]:
    """Every object of the original by UID, read as an administrator."""
    kinds = lab.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    wanted = ",".join(kind for kind in kinds if not kind.startswith(("events", "leases.")))
    return {o["metadata"]["uid"]: o for o in lab.get("-n", "production", wanted)["items"]}


def writes(thing: dict[str, Any]) -> set[str]:
    """Who wrote what, and when; without the cluster's own controllers."""
    found = thing["metadata"].get("managedFields", [])
    return {json.dumps(m, sort_keys=True) for m in found if not m["manager"].startswith(CLUSTERS_OWN)}


def is_untouched(before: dict[str, Any], now: dict[str, Any]) -> None:
    """The same objects, none of them written to: UID, generation, spec, managed fields."""
    for uid, old in before.items():
        label = f"{old['kind']}/{old['metadata']['name']}"
        assert uid in now, label
        assert now[uid]["metadata"].get("generation") == old["metadata"].get("generation"), label
        assert now[uid].get("spec") == old.get("spec"), label
        assert now[uid].get("data") == old.get("data"), label
        assert writes(now[uid]) == writes(old), label
    assert {now[uid]["kind"] for uid in now.keys() - before.keys()} <= {"Pod", "Job"}  # of the application's CronJob


def volumes(lab: TheLab) -> dict[str, str]:
    return {v["metadata"]["uid"]: v["spec"]["claimRef"]["namespace"] for v in lab.get("persistentvolumes")["items"]}


def is_removed(lab: TheLab, volumes_before: dict[str, str]) -> None:
    """No namespace and no volume of a sandbox, nor its ConfigMap; every other volume is still there."""
    names = lab.kubectl("get", "namespaces", "-o", "name").split()
    assert [n for n in names if "sandbox" in n] == []
    assert "sandbox" not in lab.kubectl("-n", "velero", "get", "configmaps", "-o", "name")
    assert volumes(lab) == volumes_before
    assert list(SCRATCH.iterdir()) == []


class Copy:
    """The sandbox as an administrator finds it, with a shell in the pod that holds the invoices."""

    def __init__(self, lab: TheLab, run_id: str) -> None:
        self.lab, self.namespace = lab, f"sandbox-{run_id}"
        found = lab.get("-n", self.namespace, "pods")["items"]
        self.pod = next(p["metadata"]["name"] for p in found if self._mounts(p))

    @staticmethod
    def _mounts(pod: dict[str, Any]) -> bool:
        claims = [v.get("persistentVolumeClaim", {}).get("claimName") for v in pod["spec"].get("volumes", [])]
        return CLAIM in claims

    def shell(self, script: str, pod: str | None = None) -> str:
        return self.lab.kubectl("-n", self.namespace, "exec", pod or self.pod, "--", "sh", "-c", script)

    def tamper(self) -> None:
        """One value of one object, and one byte of one file, by a pod of its own: the holders cannot write."""
        self.lab.kubectl(
            "-n", self.namespace, "patch", "configmap", "orders", "--type=merge", "-p", '{"data": {"COLOR": "green"}}'
        )
        script = "f=$(find /data/invoices -type f | sort | head -1); printf X | dd of=$f bs=1 count=1 conv=notrunc"
        mount = {"name": "data", "mountPath": "/data"}
        container = {"name": "tamper", "image": "lab.local/busybox:1", "command": ["sh", "-c", script]}
        spec = {
            "restartPolicy": "Never", "containers": [{**container, "volumeMounts": [mount]}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}],
        }  # fmt: skip
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tamper"}, "spec": spec}
        self.lab.kubectl("-n", self.namespace, "create", "-f", "-", stdin=json.dumps(pod))
        done = "--for=jsonpath={.status.phase}=Succeeded"
        self.lab.kubectl("-n", self.namespace, "wait", done, "pod/tamper", "--timeout=30s")
        self.lab.kubectl("-n", self.namespace, "delete", "pod", "tamper", "--grace-period=0", "--force")


def bad_checks(report: Report) -> list[str]:
    return [c.name for a in report.applications for c in a.checks if c.status is not CheckStatus.PASSED]


def never_red(log: Path, since: float) -> bool:
    """By a client that knows nothing of us; a sample takes a tenth of a second."""
    seen = [line.split() for line in log.read_text().splitlines()]
    during = [green for at, green in seen if float(at) >= since]
    return len(during) > 100 and set(during) == {"1"}


def gateway_of(lab: TheLab) -> str:
    """Of every pod of the node."""
    return lab.in_orders("ip route").split("default via ")[1].split()[0]


def in_restored_database(statement: str) -> str:
    where = [f"--host={SCRATCH}/run", "--port=5432", "--username=postgres", "--dbname=orders"]
    return run(["psql", *where, "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement], seconds=30)


def test_address_of_no_use(lab: TheLab) -> None:
    """`dr site check` tells of an address at which no copy could listen, before a drill does."""
    path = ROOT / ".lab" / "site.toml"
    whole = path.read_text()
    here = tomllib.loads(whole)["applications"][0]["drills"]["sandbox"]["database"]["address"]
    try:
        path.write_text(whole.replace(f'"{here}"', '"10.255.255.1"'))
        wrong = scratch_address(lab)
    finally:
        path.write_text(whole)
    right = scratch_address(lab)
    assert (right["status"], wrong["status"]) == ("passed", "failed")
    assert "has no address 10.255.255.1 (HINT: give it that address, or name another one" in wrong["observed"]


def scratch_address(lab: TheLab) -> dict[str, str]:
    told = lab.dr("site", "check", "--site", "lab", "--json").stdout
    return next(one for one in json.loads(told) if one["check"] == "scratch address orders")


def test_tampered_copy(lab: TheLab, run_id: str) -> None:
    """A copy of which one value, one byte and one row is not the backup's is called neither good nor kept: the row is
    seen by what the application answers on the copy."""
    before = volumes(lab)
    with drilling(lab, run_id) as process:
        Copy(lab, run_id).tamper()
        go_on_until(lab, run_id, process, *DATABASE_UP)
        in_restored_database("update orders set customer = 'nobody' where id = 12345")
        output = ended(process)
    assert process.returncode == NOT_RECOVERED, output[-4000:]
    report = Report.from_file(lab.evidence(run_id) / "report.json")
    assert (report.verdict, report.service) == ("not_recovered", "back")
    names = " ".join(bad_checks(report))
    assert "ConfigMap/orders" in names, names
    assert "volume:invoices invoices/" in names, names
    assert "inside orders in the sandbox: order" in names, names
    is_removed(lab, before)


def test_route_that_comes_back(lab: TheLab, run_id: str) -> None:
    """A network that gives a pod back the route that was taken from it: the application is not started, and what it
    would have reached is named."""
    before, over = volumes(lab), threading.Event()
    node = int(lab.env["CLUSTER_PID_A"])
    argv = ["nsenter", f"--target={node}", "--all", "sh", "-c", GATEWAY_BACK, "back", gateway_of(lab)]

    def bring_back() -> None:
        while not over.wait(0.02):
            subprocess.run(argv, check=True)

    thread = threading.Thread(target=bring_back, daemon=True)
    with drilling(lab, run_id) as process:
        go_on_until(lab, run_id, process, *DATABASE_UP)
        thread.start()
        try:
            output = ended(process)
        finally:
            over.set()
            thread.join()
    assert process.returncode == NOT_RECOVERED, output[-4000:]
    report = Report.from_file(lab.evidence(run_id) / "report.json")
    assert (report.verdict, report.service) == ("not_recovered", "back")
    checks = {c.name: c for a in report.applications for c in a.checks}
    reached = checks["reached from application orders in the sandbox before it started"]
    assert (reached.status, "database orders" in reached.observed) == (CheckStatus.FAILED, True), reached
    assert "the application was not started" in str(report.applications[0].isolated_by)
    assert [name for name in checks if name.startswith("inside")] == []
    is_removed(lab, before)


def test_after_a_killed_one(lab: TheLab, run_id: str, poller: Path) -> None:
    """What a killed run left is removed, its application and its database too; the copy is proven, reaches nothing,
    answers from the restored database, and goes; so it does when it is killed meanwhile and resumed. The original never
    notices. No secret is left anywhere."""
    secrets = secret_search.secrets_of(lab)
    before, objects, began = volumes(lab), everything(lab), time.time()
    with drilling(lab, f"{run_id}-killed") as process:
        go_on_until(lab, f"{run_id}-killed", process, *POD_MADE)
    assert set(volumes(lab).values()) >= {"production", f"sandbox-{run_id}-killed"}
    with drilling(lab, run_id) as process:
        the_same_and_alone(lab, Copy(lab, run_id))
        places = {
            "changes, as Velero has them": lab.kubectl("-n", "velero", "get", "configmaps", "-o", "json").encode()
        }
        go_on_until(lab, run_id, process, *STARTED)
        reaches_its_database_alone(lab, f"sandbox-{run_id}", f"application-{run_id}")
        process.kill()
        output = str(process.communicate()[0])
    done = lab.dr(
        "run", "namespace-deletion", "--site", "lab", "--run-id", run_id, "--yes", "--no-server", "--take-over"
    )
    output += done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    assert secret_search.found(secrets, places | secret_search.places_of(lab, run_id, output)) == []
    assert f"run {run_id}-killed left its sandbox" in output
    report = Report.from_file(lab.evidence(run_id) / "report.json")
    assert (report.verdict, report.actual.outage_seconds, report.clocks.fault) == ("passed", 0, None)
    assert bad_checks(report) == []
    names = [c.name for c in report.applications[0].checks]
    assert {"inside orders in the sandbox: order", "connections to the restored database"} <= set(names)
    assert "the application was started once" in str(report.applications[0].isolated_by)
    assert report.evidence_complete
    is_removed(lab, before)
    is_untouched(objects, everything(lab))
    assert never_red(poller, began)


def reaches_its_database_alone(lab: TheLab, namespace: str, pod: str) -> None:
    """Looked at without our code: what the application's own container reaches, who asked the restored database, and
    that production's has no connection from there."""

    def python(script: str, *argv: str) -> str:
        command = ("-c", "orders", "--", "python3.11", "-c", f"try:\n {script}\nexcept OSError as e: print(e.errno)")
        return lab.kubectl("-n", namespace, "exec", pod, *command, *argv).strip()

    found = lab.get("-n", namespace, "pod", pod)
    node, api = found["status"]["hostIP"], lab.get("-n", "default", "service", "kubernetes")["spec"]["clusterIP"]
    for address, port in ((node, 5432), (node, 6443), (api, 443), (gateway_of(lab), 10250)):
        assert python(REACH, address, str(port)) == str(errno.ENETUNREACH), (address, port)
    assert python(REACH, found["spec"]["hostAliases"][0]["ip"], "5432") == ""
    assert "token" not in lab.kubectl(
        "-n", namespace, "exec", pod, "-c", "orders", "--", "sh", "-c", "ls /run/secrets/*/* || :"
    )
    ask = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8080/orders/12345').status)"
    assert python(ask) == "200"
    came = "select count(*) > 0 from pg_stat_activity where client_addr = '{}' and usename = 'orders'"
    assert in_restored_database(came.format(found["status"]["podIP"])).strip() == "t"
    assert lab.sql(came.format(found["status"]["podIP"])).strip() == "f"


def the_same_and_alone(lab: TheLab, copy: Copy) -> None:
    """Looked at without our code: the files of the backup are there, nothing runs, and no packet gets out; from a pod
    that keeps its network the same question is answered."""
    assert copy.shell(FILES.format("/data")).splitlines()[:1] == lab.in_orders(FILES.format("/data")).splitlines()[:1]
    api = lab.get("-n", "default", "service", "kubernetes")["spec"]["clusterIP"]
    assert copy.shell(CONNECTS.format(api, 443)).strip() == "not reached"
    assert copy.shell(CONNECTS.format(api, 443), "control").strip() == "reached"
    deployment = lab.get("-n", copy.namespace, "deployment", "orders")
    assert deployment["spec"]["replicas"] == 0
    commands = copy.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "orders" not in commands, commands

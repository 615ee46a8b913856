"""Our phase `restore` against the bare tools on the same backup: interleaved pairs, a volume of 500 MB, their median.

Raw pairs are kept beside the evidence of the runs. A ratio, not a time: the machine is shared.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Iterator

import pytest

from runbooks import site as sites
from runbooks.journal import Journal
from runbooks.model import now
from runbooks.records import Impact, Mode
from runbooks.site import Application, Gate, Site, Workload
from tasks import cluster_state, velero
from tasks.cases import Attempt, Case, Request, opened, started
from tests.lab import the_lab
from tests.lab.the_lab import TheLab

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
PAIRS = 5
MEGABYTES = 500
NAMESPACE = "bench"
ALLOWED = 1.10
MANIFEST = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data, namespace: {NAMESPACE}}}
spec: {{accessModes: [ReadWriteOnce], storageClassName: local-path, resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {NAMESPACE}}}
spec: {{selector: {{app: web}}, ports: [{{port: 8080}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: {NAMESPACE}}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: lab.local/busybox:1
        imagePullPolicy: Never
        command: [httpd, -f, -p, "8080", -h, /data]
        readinessProbe: {{httpGet: {{path: /done, port: 8080}}, periodSeconds: 1}}
        volumeMounts: [{{name: data, mountPath: /data}}]
      volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
"""
FILL = f"""
i=0
while [ $i -lt {MEGABYTES // 10} ]; do dd if=/dev/urandom of=/data/$i bs=1M count=10 2>/dev/null; i=$((i+1)); done
touch /data/done
"""
RUNNING = ("wait", "pod", "-l", "app=web", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")


@pytest.fixture(scope="module")
def lab() -> Iterator[TheLab]:
    """A namespace of its own beside the application, with one backup of it."""
    made = the_lab.up()
    made.kubectl("apply", "-f", "-", stdin=MANIFEST)
    made.kubectl("-n", NAMESPACE, "rollout", "status", "deploy/web", "--watch=false")
    made.kubectl("-n", NAMESPACE, *RUNNING)
    made.kubectl("-n", NAMESPACE, "exec", "deploy/web", "--", "sh", "-ec", FILL, seconds=300)
    made.kubectl("-n", NAMESPACE, "rollout", "status", "deploy/web", "--timeout=60s")
    yield made
    made.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", seconds=180)


def site() -> Site:
    lab = sites.load("lab")
    application = Application(
        name=NAMESPACE,
        home="a",
        namespaces=(NAMESPACE,),
        workloads=(Workload(namespace=NAMESPACE, service="web", port=8080, selector="app=web"),),
        gate=Gate(services=("web",)),
    )
    return lab.model_copy(update={"applications": (application,), "slack": None})


def case_of(name: str, backup: str) -> Case:
    request = Request(
        scenario="namespace-deletion",
        site="lab",
        application=NAMESPACE,
        mode=Mode.DRILL,
        impact=Impact.REAL,
        backup=backup,
    )
    used = site()
    case = Case(name, request, Attempt(), used, Journal(used.evidence.directory / name / "journal.jsonl"))
    case.journal.begin_attempt(**started(case))
    case.note("opened", **opened(case))
    return case


def delete(lab: TheLab) -> None:
    lab.kubectl("delete", "namespace", NAMESPACE, seconds=180)


def ours(lab: TheLab, run_id: str, planned: Case) -> float:
    case = case_of(run_id, str(planned.request.backup))
    for name in ("before.json", "backup.json"):
        shutil.copy(planned.directory / name, case.directory / name)
    delete(lab)
    began = time.monotonic()
    velero.restore(case)
    cluster_state.wait_until_ready(case)
    return time.monotonic() - began


def bare(lab: TheLab, name: str, backup: str) -> float:
    delete(lab)
    began = time.monotonic()
    command = [lab.env["VELERO"], f"--kubeconfig={lab.env['KUBECONFIG_A']}", "restore", "create", name]
    the_lab.run([*command, "--from-backup", backup, "--wait"], seconds=300)
    lab.kubectl("-n", NAMESPACE, "wait", "deploy/web", "--for=condition=Available", "--timeout=120s", seconds=150)
    return time.monotonic() - began


def test_restore_phase_against_bare_velero(lab: TheLab) -> None:
    """At most a tenth slower than `velero restore create --wait` and `kubectl wait`."""
    stamp = f"bench-{now():%Y%m%d-%H%M%S}"
    backup = f"{stamp}-backup"
    velero_cli = [lab.env["VELERO"], f"--kubeconfig={lab.env['KUBECONFIG_A']}"]
    the_lab.run([*velero_cli, "backup", "create", backup, "--include-namespaces", NAMESPACE, "--wait"], seconds=600)
    first = case_of(stamp, backup)
    cluster_state.record_before(first)
    velero.choose_backup(first)
    velero.prove_coverage(first)
    pairs = []
    for number in range(1, PAIRS + 1):
        pair = {"ours": ours(lab, f"{stamp}-{number}", first), "bare": bare(lab, f"{stamp}-bare-{number}", backup)}
        pairs.append(pair)
        print(f"pair {number}: ours {pair['ours']:.2f} s, bare {pair['bare']:.2f} s")
    ratio = statistics.median(p["ours"] / p["bare"] for p in pairs)
    report = {"megabytes": MEGABYTES, "pairs": pairs, "median_ratio": ratio, "allowed": ALLOWED}
    (first.directory / "bench.json").write_text(json.dumps(report, indent=2))
    print(f"restore phase ÷ bare velero + kubectl wait: {ratio:.3f} (median of {PAIRS})")
    print(f"raw pairs: {first.directory / 'bench.json'}")
    assert ratio <= ALLOWED

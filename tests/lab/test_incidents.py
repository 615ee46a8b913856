"""Real incidents: somebody's kubectl did it, nobody planned it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from runbooks.journal import Entry, read
from runbooks.records import CheckStatus
from runbooks.report_schema import Report
from tasks.asking import YES
from tests.lab import secret_search
from tests.lab.test_drills import run_id as run_id
from tests.lab.the_lab import DR, ROOT, TheLab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
INCIDENT = ("run", "namespace-deletion", "--site", "lab", "--mode", "incident")


def is_back(lab: TheLab, run_id: str) -> Report:
    """Passed, with every check green and not one difference."""
    report = Report.from_file(lab.evidence(run_id) / "report.json")
    checks = [c for a in report.applications for c in a.checks]
    assert [c for c in checks if c.status is not CheckStatus.PASSED] == []
    assert sum("0 different" in c.observed for c in checks) >= 3
    assert (report.verdict, report.service) == ("passed", "back")
    return report


def entries(lab: TheLab, run_id: str) -> list[Entry]:
    journal = lab.evidence(run_id) / "journal.jsonl"
    return read(journal) if journal.exists() else []


def wait_until_asked(lab: TheLab, run_id: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not any("waiting for approval" in str(e.data.get("text")) for e in entries(lab, run_id)):
        assert time.monotonic() < until, [str(e.data) for e in entries(lab, run_id)][-5:]
        time.sleep(0.2)


def approve(lab: TheLab, run_id: str) -> None:
    done = lab.dr("approve", run_id, "--as", "alice", "--why", "it is broken", "--loss", "as planned")
    assert done.returncode == 0, done.stdout + done.stderr


def backed_up(lab: TheLab) -> None:
    """A backup of what is there now, so that little is lost, and the observer's record of it."""
    name = f"before-incident-{time.time_ns() // 10**6}"
    lab.kubectl("-n", "velero", "create", "-f", "-", stdin=json.dumps(backup(name)))
    until = time.monotonic() + 120
    while lab.get("-n", "velero", "backup.velero.io", name).get("status", {}).get("phase") != "Completed":
        assert time.monotonic() < until
        time.sleep(0.5)
    records = ROOT / ".lab" / "observer" / "backups" / f"{name}.json"
    while not records.exists():
        assert time.monotonic() < until, f"{records} is not there"
        time.sleep(0.5)


def backup(name: str) -> dict[str, Any]:
    spec = {"includedNamespaces": ["production"], "defaultVolumesToFsBackup": True, "ttl": "72h0m0s"}
    meta = {"name": name, "namespace": "velero", "labels": {"velero.io/schedule-name": "orders-15m"}}
    return {"apiVersion": "velero.io/v1", "kind": "Backup", "metadata": meta, "spec": spec}


@contextmanager
def started(lab: TheLab, *argv: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*DR, *argv], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


# -- through Prefect --------------------------------------------------------------------------------------------------


@pytest.fixture
def serving(lab: TheLab) -> Iterator[httpx.Client]:
    """Prefect's API; the lab itself runs `dr serve` beside it."""
    with httpx.Client(base_url=lab.env["PREFECT_API_URL"], timeout=30) as api:
        yield api


def answered(api: httpx.Client, method: str, path: str, body: object = None) -> Any:
    """Again while its SQLite database is locked, or the deployment is not there yet."""
    for _ in range(60):
        answer = api.request(method, path, json=body)
        if answer.status_code not in (404, 503):
            return answer.raise_for_status().json()
        time.sleep(0.5)
    raise AssertionError(f"{method} {path}: {answer.text}")


def wait_for_state(api: httpx.Client, run: str, *names: str, seconds: float = 240) -> str:
    until = time.monotonic() + seconds
    while (name := answered(api, "GET", f"/flow_runs/{run}")["state"]["name"]) not in names:
        assert time.monotonic() < until, name
        time.sleep(0.5)
    return str(name)


def test_deleted_by_somebody_and_approved_in_prefect(lab: TheLab, serving: httpx.Client) -> None:
    """The form starts it, the page asks with the plan, the answer there carries it out; it is back, and proven. No
    secret is left anywhere."""
    backed_up(lab)
    secrets = secret_search.secrets_of(lab)
    lab.kubectl("delete", "namespace", "production", seconds=120)
    deployment = answered(serving, "GET", "/deployments/name/namespace-deletion/incident")
    body = {"parameters": {"site": "lab"}, "state": {"type": "SCHEDULED"}}
    run = answered(serving, "POST", f"/deployments/{deployment['id']}/create_flow_run", body)["id"]
    wait_for_state(serving, run, "Paused")
    state = answered(serving, "GET", f"/flow_runs/{run}")["state"]["state_details"]
    question = answered(serving, "GET", f"/flow_runs/{run}/input/{state['run_input_keyset']['description']}")
    assert "namespace production is gone: restore" in question
    assert not [e for e in entries(lab, f"fr-{run}") if e.kind == "write" and e.phase != "prepare"]
    said = {"decision": YES, "who": "alice", "why": "it is gone", "loss": "as planned"}
    resumed = answered(serving, "POST", f"/flow_runs/{run}/resume", {"run_input": said})
    assert resumed["status"] == "ACCEPT", resumed
    with secret_search.process_list() as processes:
        assert wait_for_state(serving, run, "Completed", "Failed", "Crashed") == "Completed"
    places = secret_search.places_of(lab, f"fr-{run}", question) | {"the process list": processes.text}
    assert secret_search.found(secrets, places) == []
    report = is_back(lab, f"fr-{run}")
    assert [(a.who, a.why) for a in report.approvals] == [("alice", "it is gone")]
    assert report.actual.human_wait_seconds is not None
    assert report.clocks.fault is not None


# -- half there -------------------------------------------------------------------------------------------------------


def claims(lab: TheLab) -> dict[str, tuple[str, str]]:
    found = lab.get("-n", "production", "persistentvolumeclaims")["items"]
    return {c["metadata"]["name"]: (c["metadata"]["uid"], c["spec"]["volumeName"]) for c in found}


def test_half_there(lab: TheLab, run_id: str) -> None:
    """Deployment and Service come back; the claims are the same, and what was written since the backup is there."""
    backed_up(lab)
    lab.in_orders(f"echo {run_id} > /data/invoices/written-since.txt")
    before, uid = claims(lab), lab.get("namespace", "production")["metadata"]["uid"]
    ledger = lab.get("-n", "production", "pod", "ledger-0")["metadata"]["uid"]
    lab.kubectl("-n", "production", "delete", "deployment/orders", "service/orders")
    with started(lab, *INCIDENT, "--run-id", run_id, "--no-server") as process:
        wait_until_asked(lab, run_id)
        approve(lab, run_id)
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-4000:]
    report = is_back(lab, run_id)
    assert report.plan["creates"] in (["Deployment/orders", "Service/orders"], ["Service/orders", "Deployment/orders"])
    assert claims(lab) == before
    assert lab.get("namespace", "production")["metadata"]["uid"] == uid
    assert lab.get("-n", "production", "pod", "ledger-0")["metadata"]["uid"] == ledger
    assert lab.in_orders("cat /data/invoices/written-since.txt").strip() == run_id
    lab.in_orders("rm /data/invoices/written-since.txt")

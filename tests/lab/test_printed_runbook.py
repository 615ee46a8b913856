"""A person recovers by the printed page alone: no `dr`, no Python, no Prefect."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from runbooks.model import now
from tests.lab.the_lab import ROOT, TheLab, a_desk, run
from tests.runbooks.pages import Text

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
PROGRAMS = (
    "bash", "sh", "cat", "curl", "date", "grep", "head", "jq", "psql", "sed", "seq", "sleep", "sort", "tail", "tee",
)  # fmt: skip
STAYS_OPEN = ("while sleep 1;", "kubectl --namespace=production port-forward ")
"""What the page tells to start in a second terminal."""
FILES = "cd /data && find invoices -type f | sort | xargs sha256sum"


def a_terminal(lab: TheLab, folder: Path) -> dict[str, str]:
    """A shell's environment with what an operator has: kubectl, velero, jq, curl, psql; the lab's names resolve."""
    environment = a_desk(lab, folder, PROGRAMS)
    for name in ("KUBECTL", "VELERO"):
        (folder / "bin" / name.lower()).symlink_to(lab.env[name])
    return environment | {"PGPASSWORD": (ROOT / ".lab" / "secrets" / "postgres-orders").read_text()}


def typed(blocks: list[str]) -> str:
    """One terminal: what stays open goes to a second one, what begins with # is left out."""
    lines = []
    for line in (line for block in blocks for line in block.splitlines()):
        if line.startswith(STAYS_OPEN):
            lines.append(f"{{ {line.partition('   # expected')[0]}; }} >second.log 2>&1 &")
            lines.append("sleep 2")
        elif line and not line.startswith("#"):
            lines.append(line)
    return "\n".join([*lines, "kill $(jobs -p)", ""])


def test_recovered_by_hand(lab: TheLab, tmp_path: Path) -> None:
    """The namespace is really deleted, the commands are cut from the page and typed, and the application is back."""
    velero = [lab.env["VELERO"], f"--kubeconfig={lab.env['KUBECONFIG_A']}"]
    fresh = f"by-hand-{now():%m%d-%H%M%S}"  # holds what is there now, not what other tests had made meanwhile
    run([*velero, "backup", "create", fresh, "--from-schedule=orders-15m", "--wait"], seconds=120)
    files = lab.in_orders(FILES)
    old = lab.get("namespace", "production")["metadata"]["uid"]
    lab.kubectl("delete", "namespace", "production", "--wait=false")
    person = ("--kubeconfig", lab.env["KUBECONFIG_A"])
    page = lab.dr("runbook", "namespace-deletion", "--site", "lab", "--format", "html", *person)
    assert page.returncode == 0, page.stderr
    script = typed(Text(page.stdout).blocks)
    environment = a_terminal(lab, tmp_path)
    log = Path(lab.env["EVIDENCE"]) / f"by-hand-{now():%m%d-%H%M%S}.log"
    with log.open("w") as output:
        done = subprocess.run(
            [str(tmp_path / "bin" / "bash")], input=script, cwd=tmp_path, env=environment, text=True, timeout=420,
            stdout=output, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    said = log.read_text()
    assert done.returncode in (0, 143), said[-3000:]
    assert lab.get("namespace", "production")["metadata"]["uid"] != old
    assert httpx.get(f"{lab.env['ORDERS_URL_A']}/health", timeout=5).json()["status"] == "UP", said[-3000:]
    assert httpx.get(f"{lab.env['ORDERS_URL_A']}/orders/12345", timeout=5).json()["total"] == "199.90"
    assert lab.in_orders(FILES) == files
    deployment = lab.get("-n", "production", "deployment", "orders")
    assert deployment["status"]["readyReplicas"] == deployment["spec"]["replicas"]
    assert lab.get("-n", "production", "service", "orders")["spec"]["selector"] == {"app": "orders"}
    assert "command not found" not in said
    assert "RED" not in said

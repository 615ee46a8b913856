"""Velero goes wrong in an incident, for real: its node agent is away, its server dies in the middle of the restore."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lab.test_drills import NEW, restores_of
from tests.lab.test_drills import run_id as run_id
from tests.lab.test_incidents import INCIDENT, approve, backed_up, entries, is_back, started, wait_until_asked
from tests.lab.the_lab import TheLab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
REFUSED = 3
VOLUMES = 2
FILLER = (b"pod-volume", b"restore")
SERVER = (b"/velero", b"server", b"--uploader-type=kopia")
NOWHERE = '[{"op":"add","path":"/spec/template/spec/nodeSelector","value":{"dr-runbooks/lab":"nowhere"}}]'
ANYWHERE = '[{"op":"remove","path":"/spec/template/spec/nodeSelector"}]'


def until(look: Callable[[], Any], what: str, seconds: float = 90, pause: float = 0.2) -> Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, what
        time.sleep(pause)
    return found


def processes(lab: TheLab, words: tuple[bytes, ...], known: set[int] | None = None) -> list[int]:
    """In the lab's region, by how they were started. Those that are *known* not to be one are not asked again."""
    found, known = [], set() if known is None else known
    for pid in {int(name) for name in os.listdir("/proc") if name.isdigit()} - known:
        line = command(pid)
        if all(word in line for word in words) and int(lab.env["REGION_PID_A"]) in ancestors(pid):
            found.append(pid)
        elif line[0] and b"runc" not in line[0]:  # else it may become one
            known.add(pid)
    return found


def command(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return [b""]  # it has ended meanwhile


def ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        yield pid
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return


def phases(lab: TheLab, restore: str) -> set[str]:
    found = lab.get("-n", "velero", "podvolumerestores", f"--selector=velero.io/restore-name={restore}")["items"]
    return {one.get("status", {}).get("phase", "New") for one in found}


@contextmanager
def node_agent_away(lab: TheLab) -> Iterator[None]:
    agents = ("-n", "velero", "patch", "daemonset", "node-agent", "--type=json", "-p")
    lab.kubectl(*agents, NOWHERE)
    try:
        until(lambda: not lab.get("-n", "velero", "pods", "--selector=name=node-agent")["items"], "the node agent gone")
        yield
    finally:
        lab.kubectl(*agents, ANYWHERE)
        lab.kubectl("-n", "velero", "rollout", "status", "daemonset/node-agent", "--timeout=60s")


def says(lab: TheLab, run_id: str, text: str) -> bool:
    return any(text in str(e.data.get("text")) for e in entries(lab, run_id))


def hold_fillers(lab: TheLab) -> list[int]:
    """The processes that fill the volumes, stopped within milliseconds of their start: they have heard of nothing."""
    known: set[int] = set()
    held: set[int] = set()

    def look() -> bool:
        for pid in set(processes(lab, FILLER, known)) - held:
            os.kill(pid, signal.SIGSTOP)
            held.add(pid)
        return len(held) == VOLUMES

    until(look, "the volumes about to be filled", pause=0.002)
    return sorted(held)


def kill_velero_while_volumes_are_about_to_be_filled(lab: TheLab, restore: str) -> None:
    """The processes that fill them are held back; meanwhile the server dies, comes back, and cancels their work."""
    held = hold_fillers(lab)
    until(lambda: "InProgress" in phases(lab, restore), "a volume in progress")
    os.kill(processes(lab, SERVER)[0], signal.SIGKILL)
    until(lambda: "Canceling" in phases(lab, restore), "a cancelled volume")
    for pid in held:
        with suppress(ProcessLookupError):  # that of a volume that waited for its place is gone by now
            os.kill(pid, signal.SIGCONT)


def test_node_agent_away_and_velero_killed(lab: TheLab, run_id: str) -> None:
    """A drill is refused, an incident waits for the node agent. Then Velero dies in the middle of the restore: what it
    left is set aside, the node agent that hangs since then is restarted, and the second restore brings all back."""
    backed_up(lab)
    with ExitStack() as stack:
        with node_agent_away(lab):
            done = lab.dr(*NEW, "--run-id", f"{run_id}-drill", "--no-server")
            assert done.returncode == REFUSED, done.stdout + done.stderr
            assert "DaemonSet node-agent: 0 of 0 ready" in done.stderr
            lab.kubectl("delete", "namespace", "production", seconds=120)
            process = stack.enter_context(started(lab, *INCIDENT, "--run-id", run_id, "--no-server"))
            until(lambda: says(lab, run_id, "so no volume can be filled; waited for"), "what it waits for")
        wait_until_asked(lab, run_id)
        approve(lab, run_id)
        kill_velero_while_volumes_are_about_to_be_filled(lab, f"restore-{run_id}")
        output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output[-4000:]
    report = is_back(lab, run_id)
    assert restores_of(lab, run_id) == [f"restore.velero.io/restore-{run_id}", f"restore.velero.io/restore-{run_id}-2"]
    problems = " ".join(f.problem for f in report.findings)
    assert "fills no volume any more" in problems
    assert f"attempt 1, from backup {report.plan['backup']}, failed" in problems

"""A first process in namespaces of its own, started so that a record of it exists before anything else does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from deployments.lab import build, process
from deployments.lab.component import LabError, wait_for
from deployments.lab.lab import PROJECT, Lab, tail

if TYPE_CHECKING:
    from deployments.lab.process import Process

INIT = Path(__file__).with_name("init.py")
UNSHARE = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount", "--propagation", "private", "--mount-proc"]


def needed(lab: Lab) -> list[str]:
    """Folders that must stay visible where /tmp or /var/lib is hidden: a lab, or a clone, may lie in there."""
    folders = {lab.root, PROJECT, build.cache(), Path(sys.prefix), Path(sys.base_prefix), Path("/var/lib/postgresql")}
    return sorted(str(folder) for folder in folders)


def with_own_tmp(lab: Lab, argv: list[str]) -> list[str]:
    """*argv*, to be run on the host with an empty /tmp."""
    unshare = ["unshare", "--mount", "--propagation", "private", "--"]
    spec = json.dumps({"hide": ["/tmp"], "keep": needed(lab)})
    return [*unshare, str(lab.python), "-I", "-S", str(INIT), spec, *argv]


def first_process(lab: Lab, name: str, spec: dict[str, object], *, inside: str | None, flags: list[str]) -> Process:
    """The living pid 1 called *name*, with its mounts made; a new one when there is none.

    Raises: LabError with the end of its log."""
    alive = lab.running(name)
    if alive is not None:
        return alive
    holder = f"{name}-holder"
    lab.kill(holder)
    log = lab.log(name)
    # A name of its own: the /run of the region, which the cluster sees before it has hidden it, has a mark already.
    mark = f"/run/ready-{uuid4()}"
    argv = [*UNSHARE, *flags, str(lab.python), "-I", "-S", str(INIT), json.dumps({**spec, "ready": mark})]
    started = lab.spawn(holder, argv, region=inside, log=log)
    pid = wait_for(
        lambda: _ready(started, mark, log),
        what=f"first process of {name}",
        seconds=10,
        hint=f"unshare needs root; log: {log}",
    )
    return lab.remember(name, pid, program=INIT.name)


def _ready(holder: Process, mark: str, log: Path) -> int | None:
    """unshare's child, once it has made its mounts: its root holds the mark."""
    if not process.lives(holder):
        raise LabError(f"it ended: {tail(log)}", f"log: {log}")
    return next((pid for pid in process.children(holder.pid) if Path(f"/proc/{pid}/root{mark}").exists()), None)


def end(lab: Lab, name: str) -> None:
    """Nothing of the namespaces is left: all that lived in them is dead, and their mounts went with the last of it."""
    found = lab.written_down(name)
    everyone = process.descendants(found.pid) if found and process.is_there(found) else []
    inside = {pid: seen.started_ticks for pid in everyone if (seen := process.stat(pid))}
    lab.kill(name)
    lab.kill(f"{name}-holder")
    wait_for(
        lambda: None if any(_still(pid, ticks) for pid, ticks in inside.items()) else True,
        what=f"end of all in {name}",
        seconds=10,
        hint="a process in state D waits for its disk",
    )


def _still(pid: int, started_ticks: int) -> bool:
    seen = process.stat(pid)
    return seen is not None and seen.started_ticks == started_ticks and seen.state != "Z"

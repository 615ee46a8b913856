"""What a lab can leave on a machine, also when it was killed half-way: found, ended and removed."""

from __future__ import annotations

import os
import shutil
import signal
from time import monotonic, sleep
from typing import TYPE_CHECKING

from deployments.lab import process
from deployments.lab.component import LabError
from deployments.lab.lab import MARK

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.lab.lab import Lab

KEPT = frozenset({"evidence"})
WITHIN_SECONDS = 10.0


def marked(lab: Lab) -> dict[int, str]:
    """Every process that a lab with our number has started, by the mark in its environment: pid → mark."""
    ours = {os.getpid(), *_ancestors(os.getpid())}
    marks = {pid: process.environment_value(pid, MARK) for pid in process.everyone() if pid not in ours}
    return {pid: mark for pid, mark in marks.items() if mark is not None and mark.split(":")[0] == str(lab.number)}


def other_lab(lab: Lab) -> tuple[str, int] | None:
    """Where another lab with our number lives, and a process of it: devices and groups of that number are its own."""
    for pid, mark in marked(lab).items():
        if mark != lab.mark and _is_alive(pid):
            return mark.partition(":")[2], pid
    return None


def refuse_other_lab(lab: Lab) -> None:
    """Raises: LabError when a lab elsewhere has our number, and with it our addresses."""
    other = other_lab(lab)
    if other is not None:
        raise LabError(
            f"lab number {lab.number} is in use by {other[0]} (pid {other[1]})",
            f"take another: DR_LAB_NUMBER={(lab.number + 1) % 8} dr lab up; or stop that one",
        )


def end_processes(lab: Lab) -> None:
    """All that we started is dead, written down or not; a started process may still have been starting others."""
    for record in sorted((lab.root / "run").glob("*.json")):
        lab.kill(record.stem)
    deadline = monotonic() + WITHIN_SECONDS
    while left := [pid for pid, mark in marked(lab).items() if mark == lab.mark and _is_alive(pid)]:
        if monotonic() > deadline:
            raise LabError(f"processes {left} do not end", "one in state D waits for its disk: see /proc/PID/stack")
        for pid in left:
            if seen := process.stat(pid):
                process.send(pid, signal.SIGKILL, started_ticks=seen.started_ticks)
        sleep(0.02)


def remove_files(lab: Lab) -> None:
    """Only evidence is left of `.lab`, and no empty folder without it."""
    for path in lab.root.iterdir():
        if path.is_dir() and not path.is_symlink():
            _remove_folder(path)
        else:
            path.unlink()
    if not any(lab.root.iterdir()):
        lab.root.rmdir()


def _remove_folder(path: Path) -> None:
    if path.name not in KEPT:
        shutil.rmtree(path)
    elif not any(path.iterdir()):
        path.rmdir()


def _is_alive(pid: int) -> bool:
    seen = process.stat(pid)
    return seen is not None and seen.state != "Z"


def _ancestors(pid: int) -> list[int]:
    """A test that carries the mark itself must not be killed by the `down` that it calls."""
    found: list[int] = []
    while (seen := process.stat(pid)) is not None and seen.parent > 0:
        pid = seen.parent
        found.append(pid)
    return found

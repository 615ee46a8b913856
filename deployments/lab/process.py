"""Processes that outlive the command that started them, and that are killed only while they are still ours."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

PF_EXITING = 0x4


@dataclass(frozen=True)
class Process:
    """A process as it was when we started it. A pid alone could name a stranger: pids wrap at 32768."""

    name: str
    pid: int
    started_ticks: int
    boot: str
    program: str

    def record(self) -> dict[str, str | int]:
        return asdict(self)


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/PID/stat that we use."""

    state: str
    parent: int
    session: int
    is_exiting: bool
    """It is dead to the world; the first process of a namespace stays in this state until all others in it are gone."""
    started_ticks: int


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def stat(pid: int) -> Stat | None:
    """None when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Stat(
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        is_exiting=bool(int(fields[6]) & PF_EXITING),
        started_ticks=int(fields[19]),
    )


def describe(name: str, pid: int, program: str) -> Process | None:
    """The record of a living process; None when it has ended already."""
    seen = stat(pid)
    if seen is None or seen.state == "Z":
        return None
    return Process(name=name, pid=pid, started_ticks=seen.started_ticks, boot=boot_id(), program=program)


def lives(process: Process) -> bool:
    """It may serve somebody: neither a zombie nor on its way out."""
    seen = stat(process.pid)
    return is_there(process) and seen is not None and not seen.is_exiting


def is_there(process: Process) -> bool:
    """It holds what it held, also while it is on its way out."""
    seen = stat(process.pid)
    return (
        seen is not None
        and seen.state != "Z"
        and seen.started_ticks == process.started_ticks
        and process.boot == boot_id()
    )


def everyone() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def children(pid: int) -> list[int]:
    """Direct children, by the host's pids even when they live in another pid namespace."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid: int) -> list[int]:
    """*pid* and all below it."""
    found = [pid]
    for parent in found:
        found.extend(children(parent))
    return found


def session_of(pid: int) -> list[int]:
    """Everyone in the session that *pid* leads; a daemon's workers belong to it, also when they were orphaned."""
    return [other for other in everyone() if (seen := stat(other)) is not None and seen.session == pid]


def environment_value(pid: int, name: str) -> str | None:
    """One variable of the environment that a process was started with; None for kernel threads and the dead."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    prefix = name.encode() + b"="
    return next((entry[len(prefix) :].decode() for entry in entries if entry.startswith(prefix)), None)


def memory_bytes(pids: list[int]) -> int:
    """Proportional set size: shared pages are counted once, however many processes map them."""
    return sum(_pss(pid) for pid in pids)


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def send(pid: int, number: signal.Signals, *, started_ticks: int) -> None:
    """Signal *pid* if it is still the process that started then; the descriptor closes the gap between look and act."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        seen = stat(pid)
        if seen is not None and seen.started_ticks == started_ticks:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def namespace_pid(pid: int) -> int | None:
    """The pid that a process has in its own, innermost pid namespace."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((int(line.split()[-1]) for line in lines if line.startswith("NSpid:")), None)

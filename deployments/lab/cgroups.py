"""The control groups that a cluster's kubelet puts its pods into, one tree a region."""

from __future__ import annotations

from pathlib import Path

from deployments.lab.component import wait_for

MOUNT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """Where groups are made: the one tree of cgroup v2, or each controller's of v1."""
    if (MOUNT / "cgroup.controllers").exists():
        return [MOUNT]
    return [folder for folder in MOUNT.iterdir() if folder.name != "unified" and not folder.is_symlink()]


def make(name: str) -> None:
    """The group exists everywhere; a v1 cpuset takes no process before it has processors and memory nodes."""
    for hierarchy in hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for limit in ("cpuset.cpus", "cpuset.mems"):
            if hierarchy.name == "cpuset" and not (group / limit).read_text().strip():
                (group / limit).write_text((hierarchy / limit).read_text())


def remove(name: str) -> None:
    """No group of that name is left, in the unified tree of a hybrid machine either, where runc makes them by itself.

    All its processes are dead already, but the kernel lets go a moment later."""
    groups = [MOUNT / name, *(folder / name for folder in MOUNT.iterdir() if folder.is_dir())]
    wait_for(
        lambda: None if any(_left(group) for group in groups) else True,
        what=f"end of control group {name}",
        seconds=10,
        hint=f"is a process left in it? see {MOUNT}/*/{name}/cgroup.procs",
    )


def _left(group: Path) -> bool:
    """Remove from the leaves up; true when the kernel still holds one."""
    folders = [group, *(path for path in group.rglob("*") if path.is_dir())] if group.is_dir() else []
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return True
    return False

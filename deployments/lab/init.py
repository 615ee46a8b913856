"""First process of a region, or of the cluster inside it: mounts what is private to it, then reaps orphans for ever.

Runs as pid 1 of a new pid namespace by its path, without our packages: a SIGKILL of it ends everything inside.

    init.py '{"hide": [...], "keep": [...], "bind": {"/source": "/target"}, "shared": [...], "ready": "/run/mark"}'

With a command behind that, it becomes the command once its mounts are made.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from pathlib import Path

MS_BIND, MS_REC, MS_SHARED = 4096, 16384, 1 << 20
LIBC = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind, options)]
    if LIBC.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def hide(folder: str, keep: list[str]) -> None:
    """An empty *folder* of our own, in which only *keep* is still what it was."""
    kept = [path for path in keep if path.startswith(f"{folder}/") and Path(path).is_dir()]
    handles = [os.open(path, os.O_PATH) for path in kept]
    mount("tmpfs", folder, "tmpfs", 0, "mode=1777" if folder == "/tmp" else "mode=755")
    for path, handle in zip(kept, handles, strict=True):
        Path(path).mkdir(parents=True, exist_ok=True)
        mount(f"/proc/self/fd/{handle}", path, None, MS_BIND | MS_REC)
        os.close(handle)


def prepare(spec: dict[str, object]) -> None:
    keep = [str(path) for path in _list(spec, "keep")]
    for folder in _list(spec, "hide"):
        hide(folder, keep)
    binds = spec.get("bind", {})
    assert isinstance(binds, dict)
    for source, target in binds.items():
        if Path(source).is_dir():
            Path(target).mkdir(parents=True, exist_ok=True)
        mount(source, target, None, MS_BIND)
    for folder in _list(spec, "shared"):
        mount("none", folder, None, MS_SHARED | MS_REC)
    if "hostname" in spec:
        socket.sethostname(str(spec["hostname"]))


def _list(spec: dict[str, object], key: str) -> list[str]:
    value = spec.get(key, [])
    assert isinstance(value, list)
    return value


def reap() -> None:
    """SIGCHLD stays blocked, so none can arrive between a look and the wait for the next."""
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigwait({signal.SIGCHLD})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    wanted = json.loads(sys.argv[1])
    prepare(wanted)
    if len(sys.argv) > 2:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.execv(sys.argv[2], sys.argv[2:])
    Path(wanted["ready"]).touch()
    reap()

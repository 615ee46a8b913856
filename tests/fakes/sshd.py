"""A real sshd on a loopback port, for the user who runs the tests, with keys of its own."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runbooks.site import Host


@dataclass(frozen=True)
class Sshd:
    host: Host
    process: subprocess.Popen[bytes]
    folder: Path

    def sessions(self) -> list[int]:
        """The processes that serve a connection each."""
        return children(self.process.pid)

    def cut(self) -> None:
        """Kill what serves the connections; the commands in them live on, as they do when a network is cut."""
        for pid in [p for first in self.sessions() for p in (first, *children(first)) if is_sshd(p)]:
            os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_sshd(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")


@contextmanager
def serve(folder: Path, *, name: str = "db-a", settings: str = "") -> Iterator[Sshd]:
    """With what it says in its log at <folder>/sshd.log."""
    folder.mkdir(parents=True, exist_ok=True)
    for key in ("client", "host"):
        make_key(folder / key)
    port = free_port()
    config = folder / "sshd_config"
    config.write_text(f"""\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/client.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
{settings}
""")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "sshd.log").open("ab") as log:
        process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], stderr=log)
    try:
        wait_until_open(port)
        yield Sshd(host(folder, port, name), process, folder)
    finally:
        for pid in (*children(process.pid), process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()


def host(folder: Path, port: int, name: str) -> Host:
    kind, public, *_ = (folder / "host.pub").read_text().split()
    return Host(
        name=name,
        address="127.0.0.1",
        port=port,
        user=getpass.getuser(),
        key_file=folder / "client",
        host_key=f"{kind} {public}",
    )


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_until_open(port: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on port {port}")

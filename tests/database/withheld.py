"""A network between us and a host that does not tell the host when we die: its sshd hears neither end nor reset."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.database.the_database import TheDatabase


@dataclass
class Network:
    """`forgetful`: a connection whose client is gone stays open on the other side until `restored`."""

    port: int
    target: int
    forgetful: bool = False
    kept: list[socket.socket] = field(default_factory=list)
    carried: list[socket.socket] = field(default_factory=list)

    def cut(self) -> None:
        """Every connection that is open ends on both sides."""
        while self.carried:
            with suppress(OSError):
                self.carried.pop().shutdown(socket.SHUT_RDWR)

    def restored(self) -> None:
        self.forgetful = False
        while self.kept:
            self.kept.pop().close()


@contextmanager
def between(lab: TheDatabase, name: str = "SSH_A") -> Iterator[Network]:
    """The site file leads to the host through it, for as long as the block lasts."""
    port = lab.env[name].rpartition(":")[2]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        network = Network(listening.getsockname()[1], int(port))
        threading.Thread(target=_serve, args=(network, listening), daemon=True).start()
        with lab.site((f"port = {port}", f"port = {network.port}")):
            try:
                yield network
            finally:
                network.restored()


def _serve(network: Network, listening: socket.socket) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        there = socket.create_connection(("127.0.0.1", network.target))
        network.carried += [client, there]
        threading.Thread(target=_pass, args=(network, client, there, True), daemon=True).start()
        threading.Thread(target=_pass, args=(network, there, client, False), daemon=True).start()


def _pass(network: Network, source: socket.socket, target: socket.socket, forgets: bool) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    if forgets and network.forgetful:
        network.kept.append(target)
        return
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()

"""A real Prefect server on a port of its own, and a wire to it that can be cut."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests import programs

QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_UI_ENABLED": "false", "DO_NOT_TRACK": "1"}


def environment(home: Path, url: str | None = None) -> dict[str, str]:
    api = {"PREFECT_API_URL": url} if url else {}
    outer = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return outer | QUIET | api | {"PREFECT_HOME": str(home), "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore"}


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[int]:
    """The port of a server that answers."""
    port = programs.free_port()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    is_ready = partial(_answers, f"http://127.0.0.1:{port}/api/health")
    home = environment(folder / "server")
    with programs.running(command, log=folder / "server.log", is_ready=is_ready, seconds=120, env=home):
        yield port


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except OSError:
        return False
    return True


class Wire:
    """Passes bytes on to a port until it is cut, or frozen: then the other side seems dead, or hangs."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/api"
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        self._flowing.clear()

    def cut(self) -> None:
        self._listener.close()
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._pairs.append((near, far))
                threading.Thread(target=self._pump, args=(near, far), daemon=True).start()

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError), near, far:
            while ready := select.select([near, far], [], [])[0]:
                for source in ready:
                    self._flowing.wait()
                    data = source.recv(65536)
                    if not data:
                        return
                    (far if source is near else near).sendall(data)

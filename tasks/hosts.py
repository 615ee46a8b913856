"""Hosts of a site, by name, and the connections to them that go from one step to the next."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta

from runbooks.site import Dns, Host, Site
from tasks.clients import ssh
from tasks.clients.ssh import Shell

IDLE = timedelta(seconds=5)
"""So long a connection is kept for the next who asks. To log in takes longer than most commands do."""
Route = tuple[tuple[Host, ...], Dns]


def route(site: Site, name: str) -> tuple[Host, ...]:
    """The host of that name, behind those through which it is reached.

    Raises:
        Refused: the site has no such host.
    """
    return tuple(reversed(list(_backwards(site, name))))


@contextmanager
def connect(site: Site, name: str) -> Iterator[Shell]:
    """A shell there, as `tasks.clients.ssh.connect`; nobody else uses its connection meanwhile. One that a block left
    with an error is not used again."""
    there = route(site, name), site.dns
    connection = _idle.take(there) or _open(there)
    try:
        yield connection.shell
    except BaseException:
        connection.close()
        raise
    _idle.put(there, connection)


@dataclass(frozen=True, eq=False)
class _Connection:
    shell: Shell
    close: Callable[[], None]


def _open(there: Route) -> _Connection:
    with ExitStack() as stack:
        shell = stack.enter_context(ssh.connect(*there))
        return _Connection(shell, stack.pop_all().close)


class _Idle:
    """Connections that nobody uses at the moment, each with the timer that closes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Route, list[tuple[_Connection, threading.Timer]]] = defaultdict(list)

    def take(self, there: Route) -> _Connection | None:
        while True:
            with self._lock:
                if not self._waiting[there]:
                    return None
                found, timer = self._waiting[there].pop()
            timer.cancel()
            if found.shell.is_open:
                return found
            found.close()

    def put(self, there: Route, connection: _Connection) -> None:
        timer = threading.Timer(IDLE.total_seconds(), self._drop, (there, connection))
        timer.daemon = True
        with self._lock:
            self._waiting[there].append((connection, timer))
        timer.start()

    def _drop(self, there: Route, connection: _Connection) -> None:
        with self._lock:
            others = [one for one in self._waiting[there] if one[0] is not connection]
            is_idle = len(others) < len(self._waiting[there])
            self._waiting[there] = others
        if is_idle:
            connection.close()


_idle = _Idle()


def _backwards(site: Site, name: str | None) -> Iterator[Host]:
    while name is not None:
        host = site.host(name)
        yield host
        name = host.jump

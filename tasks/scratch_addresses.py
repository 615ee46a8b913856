"""An address at which a restored copy listens: of its host, and of nobody else there; and who came in."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

from runbooks.errors import Refused
from tasks.database_server import Postgres

LOGGED = {"log_connections": "on", "log_destination": "stderr", "log_line_prefix": "[%p] ", "lc_messages": "C"}
"""What `visitors` reads."""
LOCAL = re.compile(r"\|-- (\S+)\s+/32 host LOCAL")
LISTENS = re.compile(r"^ *\d+: ([0-9A-F]+):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A ", re.MULTILINE)
CAME = re.compile(r"^\[(\d+)\] LOG:  connection received: host=(?!\[local\])(\S+)", re.MULTILINE)
LET_IN = re.compile(r"^\[(\d+)\] LOG:  connection authorized: user=(\S+) ", re.MULTILINE)
V4, V4_MAPPED, ANYWHERE = 8, "0000000000000000FFFF0000", "0.0.0.0"
ELSEWHERE = "name another one in the site file: applications.drills.sandbox.database"


def must_be_usable(postgres: Postgres, address: str, port: int) -> None:
    """The host has the address, and no server there listens at all its addresses. Reads only.

    Raises: Refused: it is not so.
    """
    if address not in LOCAL.findall(_read(postgres, "fib_trie")):
        raise Refused(f"host {postgres.server.host} has no address {address}", f"give it that address, or {ELSEWHERE}")
    if ANYWHERE in _listening(postgres, port):
        raise Refused(
            f"a server on host {postgres.server.host} listens at every address with port {port}, {address} included",
            "a copy there would not start: name production's own addresses in listen_addresses, or use another host",
        )


def must_be_free(postgres: Postgres, address: str, port: int) -> None:
    """As `must_be_usable`, and nobody listens there. Raises: Refused: somebody does."""
    must_be_usable(postgres, address, port)
    if address in _listening(postgres, port):
        raise Refused(f"somebody listens at {address}:{port} on host {postgres.server.host}", ELSEWHERE)


def _listening(postgres: Postgres, port: int) -> set[str]:
    """IPv4 addresses; what takes IPv4 by an IPv6 socket stands as IPv4."""
    told = LISTENS.findall(_read(postgres, "tcp") + _read(postgres, "tcp6"))
    return {found for local, at in told if int(at, 16) == port for found in _address(local)}


def _address(told: str) -> Iterator[str]:
    """The kernel writes each word in the machine's own order."""
    if len(told) == V4 or told.startswith(V4_MAPPED):
        yield socket.inet_ntoa(bytes.fromhex(told[-V4:])[::-1])
    elif not told.strip("0"):
        yield ANYWHERE


def _read(postgres: Postgres, table: str) -> str:
    return postgres.sh('[ ! -e "$1" ] || cat "$1"', f"/proc/net/{table}")


def visitors(postgres: Postgres, log: str) -> list[str]:
    """As which user each connection over the network was let in, since the copy was started."""
    text = postgres.sh('cat "$1"', log)
    came = {pid for pid, _ in CAME.findall(text)}
    return [user for pid, user in LET_IN.findall(text) if pid in came]

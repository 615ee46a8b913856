"""Where a copy of a database may listen, read off a real host."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks.errors import Refused
from runbooks.hosts import Backups, Server
from runbooks.secret import Secret
from runbooks.site import Database, Dns
from tasks import scratch_addresses
from tasks.clients import ssh
from tasks.database_server import Postgres
from tests.fakes import sshd

pytestmark = pytest.mark.slow
HERE = "127.0.0.1"
LOG = """\
[11] LOG:  connection received: host=[local]
[11] LOG:  connection authorized: user=postgres database=postgres application_name=psql
[12] LOG:  connection received: host=10.1.0.7 port=40000
[13] LOG:  connection received: host=10.1.0.7 port=40002
[13] LOG:  connection authorized: user=orders database=orders
"""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Its server is not asked: only the host is."""
    server = Server(host="db-a", user=getpass.getuser(), data="/d", programs="/p", start=("true",), stop=("true",))
    database = Database(name="orders", host="db", database="orders", user="orders", password=Secret(where="env:NOBODY"))
    with (
        sshd.serve(tmp_path_factory.mktemp("sshd")) as served,
        ssh.connect((served.host,), Dns()) as shell,
    ):
        yield Postgres(shell, database, server, Backups(), "orders")


def listening(address: str, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    found = socket.socket(family)
    found.bind((address, 0))
    found.listen()
    return found


def test_address_of_another_host(postgres: Postgres) -> None:
    """A copy would not start: said before it is restored."""
    with pytest.raises(Refused, match=r"host db-a has no address 192\.0\.2\.7"):
        scratch_addresses.must_be_usable(postgres, "192.0.2.7", 5432)


@pytest.mark.parametrize(("address", "family"), [("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6)])
def test_server_that_listens_everywhere(postgres: Postgres, address: str, family: socket.AddressFamily) -> None:
    """There is no room beside it, whichever address the copy gets; `::` takes IPv4 as well."""
    with listening(address, family) as server, pytest.raises(Refused, match="listens at every address with port"):
        scratch_addresses.must_be_usable(postgres, HERE, server.getsockname()[1])


def test_address_that_is_in_use(postgres: Postgres) -> None:
    """By whomever; with another port, or when they are gone, it is free."""
    with listening(HERE) as server:
        port = server.getsockname()[1]
        scratch_addresses.must_be_usable(postgres, HERE, port)
        with pytest.raises(Refused, match=f"somebody listens at {HERE}:{port} on host db-a"):
            scratch_addresses.must_be_free(postgres, HERE, port)
    scratch_addresses.must_be_free(postgres, HERE, port)


def test_who_came_in(postgres: Postgres, tmp_path: Path) -> None:
    """Over the network, and with a password that was right; our own questions do not count."""
    log = tmp_path / "postgresql.log"
    log.write_text(LOG)
    assert scratch_addresses.visitors(postgres, str(log)) == ["orders"]

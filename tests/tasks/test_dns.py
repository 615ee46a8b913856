"""Names are asked of the site's DNS server, and of nobody's cache."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from runbooks.errors import Refused, Unavailable
from runbooks.site import Dns
from tasks.clients import dns
from tests.tasks.outside import name_server


def test_record_that_moves() -> None:
    """The next question gets the new address, whatever the TTL says."""
    with name_server({"orders.example": "127.0.0.2"}) as names:
        server = Dns(server=names.address)
        assert dns.resolve("orders.example", server) == ("127.0.0.2",)
        names.records["orders.example"] = "127.0.0.3"
        assert dns.resolve("orders.example", server) == ("127.0.0.3",)


def test_unknown_name() -> None:
    """It may exist a moment later, so asking again is right."""
    with (
        name_server({}) as names,
        pytest.raises(Unavailable, match=r"does not resolve gone.example: there is no such name"),
    ):
        dns.resolve("gone.example", Dns(server=names.address))


def test_silent_server() -> None:
    """The caller's time limit holds."""
    with name_server({"orders.example": None}) as names:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="no answer in time"):
            dns.resolve("orders.example", Dns(server=names.address), within=timedelta(seconds=0.5))
        assert time.monotonic() - began < 0.8


@pytest.mark.parametrize("name", ["127.0.0.1", "::1", "localhost"])
def test_addresses(name: str) -> None:
    """An address needs no server, not even a dead one."""
    assert dns.resolve(name, Dns(server="127.0.0.1:1"))


def test_server_without_port() -> None:
    """The error says how to write it."""
    with pytest.raises(Refused, match=r'"10.0.0.2:53"'):
        dns.resolve("orders.example", Dns(server="dns.example"))

"""Asking as an outside client: the site's DNS, a fresh connection, one time limit over everything."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from runbooks.errors import Refused, Unavailable
from runbooks.site import Dns
from tasks.clients import http
from tests.tasks.outside import application, name_server

SECOND = timedelta(seconds=1)


def test_name_in_the_sites_dns() -> None:
    """The connection goes to the address that its server gives; the Host header keeps the name."""
    with application() as app, name_server({"orders.example": "127.0.0.1"}) as names:
        url = f"http://orders.example:{app.server_port}/health"
        answer = http.get(url, within=SECOND, dns=Dns(server=names.address))
        assert (answer.status, answer.json()) == (200, {"status": "UP"})
        assert app.world.hosts == [f"orders.example:{app.server_port}"]


def test_record_that_moves() -> None:
    """The very next question goes to the new address."""
    with application("127.0.0.1") as old, application("127.0.0.2", old.server_port) as new:
        with name_server({"orders.example": "127.0.0.1"}) as names:
            url, server = f"http://orders.example:{old.server_port}/health", Dns(server=names.address)
            http.get(url, within=SECOND, dns=server)
            names.records["orders.example"] = "127.0.0.2"
            http.get(url, within=SECOND, dns=server)
        assert (len(old.world.asked), len(new.world.asked)) == (1, 1)


@pytest.mark.parametrize("how", ["hang", "slow", "drip"])
def test_no_whole_answer_in_time(how: str) -> None:
    """The limit is over the whole answer, so a byte now and then does not stretch it."""
    with application() as app:
        app.world.how = how
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"no answer within 0.5 s"):
            http.get(f"{app.url}/health", within=timedelta(seconds=0.5), dns=Dns())
        assert time.monotonic() - began < 0.8


def test_nobody_listens() -> None:
    """It is said at once, and without what a presigned URL holds."""
    with pytest.raises(Unavailable, match="refused") as caught:
        http.get("http://user:word@127.0.0.1:1/x?X-Signature=s3cret", within=SECOND, dns=Dns())
    assert "s3cret" not in str(caught.value)
    assert "word" not in str(caught.value)


def test_connection_cut() -> None:
    """A server that closes without a word gave no answer."""
    with application() as app:
        app.world.how = "off"
        with pytest.raises(Unavailable):
            http.get(f"{app.url}/health", within=SECOND, dns=Dns())


def test_any_status_is_an_answer() -> None:
    """What a 503 means, the caller decides."""
    with application() as app:
        app.world.how = "red"
        assert http.get(f"{app.url}/health", within=SECOND, dns=Dns()).status == 503


def test_post() -> None:
    """JSON goes out once, and its answer comes back."""
    with application() as app:
        answer = http.post(f"{app.url}/markers/rows", {"id": "a", "seq": 7}, within=SECOND, dns=Dns())
        assert (answer.status, app.world.markers["rows"]) == (201, {7: "a"})


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "orders", "http://"])
def test_not_a_web_address(url: str) -> None:
    """A mistake in the site file is refused, not asked again."""
    with pytest.raises(Refused, match="write it as"):
        http.get(url, within=SECOND, dns=Dns())


def test_answer_that_is_not_json() -> None:
    """Judging it is red, not a crash."""
    with pytest.raises(Unavailable, match=r"status 200. is not JSON"):
        http.Answer(200, b"<html>", 1.0).json()

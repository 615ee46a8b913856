"""Connections to hosts, against a real sshd: the next who asks gets the one that was just used."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from runbooks.errors import Refused
from runbooks.site import Application, Site
from tasks import hosts
from tasks.clients.ssh import Shell
from tests.fakes import sshd
from tests.fakes.sshd import Sshd
from tests.tasks.cases import site_of


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with sshd.serve(tmp_path / "sshd") as one:
        yield one


@pytest.fixture
def site(server: Sshd, tmp_path: Path) -> Site:
    application = Application(name="orders", home="a", namespaces=("production",))
    return site_of(tmp_path, application).model_copy(update={"hosts": (server.host,)})


def connection(shell: Shell) -> str:
    """Which one it is: by the port on our side."""
    return shell.run(["sh", "-c", "echo $SSH_CONNECTION"]).text.split()[1]


def once(site: Site) -> str:
    with hosts.connect(site, "db-a") as shell:
        return connection(shell)


def test_one_after_the_other(site: Site) -> None:
    """Steps that follow each other log in once; two at the same time have a connection each."""
    first = once(site)
    assert once(site) == first
    with hosts.connect(site, "db-a") as one, hosts.connect(site, "db-a") as other:
        assert connection(one) == first != connection(other)


def test_left_with_an_error(site: Site, server: Sshd) -> None:
    """Nobody knows what state such a connection is in: it is closed."""

    def fail() -> None:
        with hosts.connect(site, "db-a"):
            raise Refused("no", "no")

    first = once(site)
    with pytest.raises(Refused):
        fail()
    assert once(site) != first
    assert len(server.sessions()) == 1


def test_cut_meanwhile(site: Site, server: Sshd) -> None:
    """A connection that broke while nobody used it is noticed, and costs nothing but a new one."""
    first = once(site)
    server.cut()
    until = time.monotonic() + 5
    while server.sessions() and time.monotonic() < until:
        time.sleep(0.02)
    assert once(site) != first


def test_idle(site: Site, server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody asks for any more is closed: no host is left with sessions of a run that waits for a person."""
    monkeypatch.setattr(hosts, "IDLE", timedelta(seconds=0.2))
    once(site)
    until = time.monotonic() + 5
    while server.sessions():
        assert time.monotonic() < until, "the session is still there"
        time.sleep(0.02)

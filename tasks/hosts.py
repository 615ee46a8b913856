"""Hosts of a site, by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from runbooks.site import Host, Site
from tasks.clients import ssh
from tasks.clients.ssh import Shell


def route(site: Site, name: str) -> tuple[Host, ...]:
    """The host of that name, behind those through which it is reached.

    Raises:
        Refused: the site has no such host.
    """
    return tuple(reversed(list(_backwards(site, name))))


def connect(site: Site, name: str) -> AbstractContextManager[Shell]:
    """A shell there, as `tasks.clients.ssh.connect`."""
    return ssh.connect(route(site, name), site.dns)


def _backwards(site: Site, name: str | None) -> Iterator[Host]:
    while name is not None:
        host = site.host(name)
        yield host
        name = host.jump

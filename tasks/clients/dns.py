"""Asks the site's DNS server, every time anew: a record that was moved is followed with the next question."""

from __future__ import annotations

import ipaddress
import socket
from datetime import timedelta

import dns.exception
import dns.resolver

from runbooks.errors import Refused, Unavailable
from runbooks.site import Dns

WITHIN = timedelta(seconds=2)
TRY_SECONDS = 0.4  # a lost packet must not use up all the time


def resolve(name: str, server: Dns, *, within: timedelta = WITHIN) -> tuple[str, ...]:
    """The addresses of *name*, IPv4 first; an address stands for itself. Reads only; nothing is cached.

    Raises:
        Unavailable: no server answered, or there is no such name (yet).
        Refused: the site names a DNS server that is no address.
    """
    if _is_address(name):
        return (name,)
    if server.server is None or name == "localhost":
        return _by_system(name)
    return _by_server(name, server.server, within)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _by_system(name: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unavailable(f"{name} does not resolve here: {error}", "is the name right, and does DNS work?") from error
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    return tuple(dict.fromkeys(str(one[4][0]) for one in found))


def _by_server(name: str, server: str, within: timedelta) -> tuple[str, ...]:
    resolver = _resolver(server)
    try:
        for kind in ("A", "AAAA"):
            answer = resolver.resolve(
                name, kind, search=False, raise_on_no_answer=False, lifetime=within.total_seconds()
            )
            if answer.rrset is not None:
                return tuple(record.address for record in answer)
    except dns.exception.DNSException as error:
        raise Unavailable(
            f"DNS server {server} does not resolve {name}: {_why(error)}",
            "is the record there, and does the server answer?",
        ) from error
    raise Unavailable(f"DNS server {server} has no address for {name}", "is the record of type A or AAAA?")


def _resolver(server: str) -> dns.resolver.Resolver:
    host, _, port = server.rpartition(":")
    resolver = dns.resolver.Resolver(configure=False)
    try:
        resolver.nameservers = [host.strip("[]")]
        resolver.port = int(port)
    except ValueError as error:
        raise Refused(
            f"dns.server {server!r} is not an address with a port", 'write it as "10.0.0.2:53" in the site file'
        ) from error
    resolver.timeout = TRY_SECONDS
    return resolver


def _why(error: dns.exception.DNSException) -> str:
    if isinstance(error, dns.resolver.NXDOMAIN):
        return "there is no such name"
    if isinstance(error, dns.exception.Timeout):
        return "no answer in time"
    return type(error).__name__

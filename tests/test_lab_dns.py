"""The lab's Route53 and DNS server, as the programs that the lab starts."""

from __future__ import annotations

import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest
from botocore.exceptions import BotoCoreError

from deployments.lab import dns_server
from deployments.lab.orders import names
from deployments.lab.orders.settings import DownError
from tests import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
PROJECT = Path(__file__).resolve().parent.parent


def eventually(look: Callable[[], T], *errors: type[Exception]) -> T:
    """The first answer that is no error, within 20 s: the programs import for a second."""
    deadline = monotonic() + 20
    while True:
        try:
            return look()
        except errors:
            if monotonic() > deadline:
                raise
        sleep(0.05)


@contextmanager
def program(module: str, port: int, *arguments: str, log: Path) -> Iterator[None]:
    """It listens at *port*."""

    def is_ready() -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", port)) == 0

    command = [sys.executable, "-m", module, *arguments]
    with programs.running(command, log=log, is_ready=is_ready, seconds=60, cwd=PROJECT):
        yield


class Route53:
    """The program, and a few calls of its API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.client = dns_server.client(self.url)

    def zone(self) -> str:
        [zone] = eventually(self.client.list_hosted_zones, BotoCoreError)["HostedZones"]
        return zone["Id"]

    def change(self, action: str, name: str, address: str, **more: str) -> None:
        record = {"Name": name, "Type": "A", "TTL": 5, "ResourceRecords": [{"Value": address}], **more}
        changes = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        self.client.change_resource_record_sets(HostedZoneId=self.zone(), ChangeBatch=changes)  # type: ignore[arg-type]

    def addresses(self) -> dict[str, str]:
        sets = self.client.list_resource_record_sets(HostedZoneId=self.zone())["ResourceRecordSets"]
        return {found["Name"]: found["ResourceRecords"][0]["Value"] for found in sets if found["Type"] == "A"}


@contextmanager
def route53(state: Path, port: int | None = None) -> Iterator[Route53]:
    port = port or programs.free_port()
    with program("deployments.lab.route53_server", port, str(port), str(state), log=state.with_suffix(".log")):
        served = Route53(port)
        served.zone()
        yield served


class Resolver:
    """The program over a Route53, asked as a client does."""

    def __init__(self, port: int) -> None:
        self.address = ("127.0.0.1", port)

    def ask(self, name: str, *, over: str = "udp") -> dns.message.Message:
        query = dns.message.make_query(name, "A")
        send = dns.query.udp if over == "udp" else dns.query.tcp
        answer = send(query, self.address[0], port=self.address[1], timeout=1)
        assert answer.flags & dns.flags.AA
        return answer

    def wait_for(self, name: str, address: str) -> float:
        """Seconds until *name* is answered with *address*."""
        begun = monotonic()

        def look() -> None:
            answer = self.ask(name)
            assert answer.answer, name
            assert str(answer.answer[0][0]) == address

        eventually(look, AssertionError, dns.exception.DNSException, OSError)
        return monotonic() - begun


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Route53]:
    with route53(tmp_path_factory.mktemp("zone") / "zone.json") as served:
        served.change("UPSERT", "orders.lab.example", "10.0.0.1")
        yield served


@pytest.fixture(scope="module")
def resolver(zone: Route53, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    port, log = programs.free_port(), tmp_path_factory.mktemp("dns") / "log"
    with program("deployments.lab.dns_server", port, zone.url, f"127.0.0.1:{port}", f"192.0.2.53:{port}", log=log):
        served = Resolver(port)
        served.wait_for("orders.lab.example.", "10.0.0.1")
        yield served


def test_restarted_route53(tmp_path: Path) -> None:
    """Zone id and records are the same in its next life: the site file pins the id."""
    state = tmp_path / "zone.json"
    with route53(state) as first:
        before = first.zone()
        first.change("UPSERT", "orders.lab.example", "10.0.0.1")
        first.change("UPSERT", "orders.lab.example", "10.0.0.2")
        first.change("UPSERT", "gone.lab.example", "10.0.0.3")
        first.change("DELETE", "gone.lab.example", "10.0.0.3")
    with route53(state) as second:
        assert second.zone() == before
        assert second.addresses() == {"orders.lab.example.": "10.0.0.2"}


def test_changed_record(zone: Route53, resolver: Resolver) -> None:
    """A failover's change is answered within a second, with its TTL."""
    zone.change("UPSERT", "moved.lab.example", "10.0.0.1")
    resolver.wait_for("moved.lab.example.", "10.0.0.1")
    zone.change("UPSERT", "moved.lab.example", "10.0.0.2")
    assert resolver.wait_for("moved.lab.example.", "10.0.0.2") < 1
    assert resolver.ask("moved.lab.example.").answer[0].ttl == 5


def test_over_tcp(resolver: Resolver) -> None:
    """The same answer as over UDP."""
    assert resolver.ask("orders.lab.example.", over="tcp").answer == resolver.ask("orders.lab.example.").answer


def test_failover_records(zone: Route53, resolver: Resolver) -> None:
    """Of a pair with one name the primary is answered."""
    zone.change("UPSERT", "pair.lab.example", "10.0.0.2", SetIdentifier="b", Failover="SECONDARY")
    zone.change("UPSERT", "pair.lab.example", "10.0.0.1", SetIdentifier="a", Failover="PRIMARY")
    resolver.wait_for("pair.lab.example.", "10.0.0.1")


@pytest.mark.parametrize(
    ("name", "code"), [("nobody.lab.example.", dns.rcode.NXDOMAIN), ("example.org.", dns.rcode.REFUSED)]
)
def test_unknown_name(resolver: Resolver, name: str, code: dns.rcode.Rcode) -> None:
    """No such name in our zone, or none of our business."""
    assert resolver.ask(name).rcode() == code


def test_other_type_of_a_known_name(resolver: Resolver) -> None:
    """The name exists, so there is no error: just no answer."""
    query = dns.message.make_query("orders.lab.example.", "AAAA")
    answer = dns.query.udp(query, "127.0.0.1", port=resolver.address[1], timeout=1)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])


def test_route53_away(tmp_path: Path) -> None:
    """Names are answered as they were last: Route53's own servers do not need its API either."""
    state, port = tmp_path / "zone.json", programs.free_port()
    api_port, log = programs.free_port(), tmp_path / "dns.log"
    with program("deployments.lab.dns_server", port, f"http://127.0.0.1:{api_port}", f"127.0.0.1:{port}", log=log):
        with route53(state, api_port) as served:
            served.change("UPSERT", "orders.lab.example", "10.0.0.1")
            Resolver(port).wait_for("orders.lab.example.", "10.0.0.1")
        sleep(dns_server.FRESH_SECONDS)
        assert str(Resolver(port).ask("orders.lab.example.").answer[0][0]) == "10.0.0.1"


def test_application_resolver(resolver: Resolver) -> None:
    """The application's own few lines read what this server answers."""
    assert names.ask("orders.lab.example", resolver.address) == ("10.0.0.1", 5)


def test_application_asks_for_an_unknown_name(resolver: Resolver) -> None:
    """The error names the server and the name."""
    with pytest.raises(DownError, match=r"does not resolve nobody\.lab\.example: answer code 3"):
        names.ask("nobody.lab.example", resolver.address)


def test_application_without_a_server() -> None:
    """It gives up in time for /health, and says which server was asked."""
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    begun = monotonic()
    with silent, pytest.raises(DownError, match="DNS server"):
        names.Names(silent.getsockname()).address("db.lab.example")
    assert monotonic() - begun < 0.4


def test_name_that_the_machine_knows_itself() -> None:
    """As with any resolver /etc/hosts goes first, and no server is asked: so a pod can be led elsewhere."""
    assert names.Names(("127.0.0.1", programs.free_port())).address("localhost") == "127.0.0.1"


def test_application_remembers_through_an_outage(zone: Route53, tmp_path: Path) -> None:
    """A name that was known stays known while the server is away, long after its TTL."""
    port = programs.free_port()
    known = names.Names(("127.0.0.1", port))
    with program("deployments.lab.dns_server", port, zone.url, f"127.0.0.1:{port}", log=tmp_path / "log"):
        assert eventually(lambda: known.address("orders.lab.example"), DownError) == "10.0.0.1"
    over = monotonic() + 2 * names.LONGEST_TTL_SECONDS
    while monotonic() < over:
        assert known.address("orders.lab.example") == "10.0.0.1"
        sleep(0.1)

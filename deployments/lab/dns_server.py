"""A small DNS server that answers from Route53's API, over UDP and TCP.

Run as `python -m deployments.lab.dns_server ROUTE53_URL ADDRESS:PORT…`. Like Route53's own servers it goes on with what
it knew last while the API is away."""

import logging
import socket
import socketserver
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import boto3
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_route53 import Route53Client
    from mypy_boto3_route53.type_defs import ResourceRecordSetOutputTypeDef

LOG = logging.getLogger(__name__)
FRESH_SECONDS = 0.5  # a changed record is seen by resolvers after that and their own cache
IP_FREEBIND = 15  # lets us listen at a region's address before the region is up


def client(url: str) -> "Route53Client":
    return boto3.client(
        "route53",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="lab",
        aws_secret_access_key="lab",
        config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1}),
    )


@dataclass
class Zones:
    """All record sets of all hosted zones, asked for again when older than FRESH_SECONDS."""

    route53: "Route53Client"
    _records: "list[ResourceRecordSetOutputTypeDef]" = field(default_factory=list)
    _names: list[dns.name.Name] = field(default_factory=list)
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        [question] = query.question
        with self._lock:
            self._refresh()
        if not any(question.name.is_subdomain(zone) for zone in self._names):
            response.set_rcode(dns.rcode.REFUSED)
            return response
        named = [record for record in self._records if dns.name.from_text(record["Name"]) == question.name]
        found = [record for record in named if record["Type"] == dns.rdatatype.to_text(question.rdtype)]
        if found:
            response.answer.append(_rrset(question.name, question.rdtype, min(found, key=_rank)))
        elif not named:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    def _refresh(self) -> None:
        if time.monotonic() < self._until:
            return
        try:
            zones = self.route53.list_hosted_zones()["HostedZones"]
            pages = self.route53.get_paginator("list_resource_record_sets")
            self._records = [
                record
                for zone in zones
                for page in pages.paginate(HostedZoneId=zone["Id"])
                for record in page["ResourceRecordSets"]
            ]
            self._names = [dns.name.from_text(zone["Name"]) for zone in zones]
        except (BotoCoreError, ClientError) as error:
            LOG.warning("Route53 API: %s; answering from what it said last", error)
        self._until = time.monotonic() + FRESH_SECONDS


def _rank(record: "ResourceRecordSetOutputTypeDef") -> tuple[bool, int]:
    """Of records with one name: the primary before the secondary, then the heaviest."""
    return record.get("Failover") == "SECONDARY", -record.get("Weight", 0)


def _rrset(
    name: dns.name.Name, kind: dns.rdatatype.RdataType, record: "ResourceRecordSetOutputTypeDef"
) -> dns.rrset.RRset:
    values = [value["Value"] for value in record.get("ResourceRecords", [])]
    return dns.rrset.from_text_list(name, int(record.get("TTL", 0)), "IN", kind, values)


class _Listening:
    """The part that both servers share."""

    allow_reuse_address = True
    socket: socket.socket

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        super().server_bind()  # type: ignore[misc]


class Udp(_Listening, socketserver.ThreadingUDPServer):
    daemon_threads = True
    zones: Zones


class Tcp(_Listening, socketserver.ThreadingTCPServer):
    daemon_threads = True
    zones: Zones


class UdpHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        wire, reply = cast("tuple[bytes, socket.socket]", self.request)
        if answer := _answer(wire, cast("Udp", self.server).zones):
            reply.sendto(answer, self.client_address)


class TcpHandler(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self) -> None:
        wire = self.rfile.read(int.from_bytes(self.rfile.read(2)))
        if answer := _answer(wire, cast("Tcp", self.server).zones):
            self.wfile.write(len(answer).to_bytes(2) + answer)


def _answer(wire: bytes, zones: Zones) -> bytes | None:
    """None for what is no question at all."""
    try:
        query = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return None
    if len(query.question) != 1:
        return None
    return zones.answer(query).to_wire()


def main(url: str, places: list[str]) -> None:
    zones = Zones(client(url))
    addresses = [(host, int(port)) for host, _, port in (place.rpartition(":") for place in places)]
    for server in [kind(address, handler) for address in addresses for kind, handler in _KINDS]:
        server.zones = zones
        threading.Thread(target=server.serve_forever).start()


_KINDS: list[tuple[type[Udp] | type[Tcp], type[socketserver.BaseRequestHandler]]] = [
    (Udp, UdpHandler),
    (Tcp, TcpHandler),
]

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

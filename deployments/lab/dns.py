"""The DNS server that answers from Route53's API: for us on loopback, for the regions at the host's addresses."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

from deployments.lab import route53
from deployments.lab.component import LabError, Proof
from deployments.lab.lab import PROJECT
from deployments.lab.proof import of_process

if TYPE_CHECKING:
    from deployments.lab.lab import Lab

PORT = 2


@dataclass(frozen=True)
class Dns:
    name: str = "dns"

    def start(self, lab: Lab) -> None:
        """It listens at the regions' doors before there are any, so that it need not know when one comes up."""
        doors = [f"{region.host_address}:53" for region in lab.regions.values() if region.isolated]
        program = [str(lab.python), "-m", "deployments.lab.dns_server"]
        lab.spawn(self.name, [*program, route53.endpoint(lab), server(lab), *doors], cwd=PROJECT)
        lab.wait_for(self.name, lambda: ask(lab, route53.ORDERS), seconds=20)

    def prove(self, lab: Lab) -> Proof:
        begun = monotonic()
        told, stored = ask(lab, route53.ORDERS), route53.records(lab)[route53.ORDERS]
        if told != stored:
            raise LabError(f"DNS says {told} for {route53.ORDERS}, Route53 {stored}", "ask again after a second")
        said = f"{route53.ORDERS} is {told}, as in Route53"
        return of_process(lab, self.name, address=server(lab), said=said, begun=begun)

    def environment(self, lab: Lab) -> dict[str, str]:
        return {"DNS_SERVER": server(lab)}

    def stop(self, lab: Lab) -> None:
        lab.kill(self.name)


def server(lab: Lab) -> str:
    return f"127.0.0.1:{lab.port(PORT)}"


def ask(lab: Lab, name: str) -> str:
    """The address of *name*, asked over UDP and TCP. Raises: LabError."""
    query = dns.message.make_query(name, dns.rdatatype.A)
    try:
        udp = dns.query.udp(query, "127.0.0.1", timeout=0.5, port=lab.port(PORT))
        tcp = dns.query.tcp(query, "127.0.0.1", timeout=0.5, port=lab.port(PORT))
    except (dns.exception.DNSException, OSError) as error:
        raise LabError(f"DNS server {server(lab)}: {error or type(error).__name__}", "dr lab up") from error
    if not udp.answer or udp.answer != tcp.answer:
        raise LabError(f"DNS server {server(lab)}: {name} is {udp.answer} by UDP, {tcp.answer} by TCP", "dr lab up")
    return str(udp.answer[0][0])

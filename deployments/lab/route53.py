"""Route53's API on loopback, and the lab's records in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from deployments.lab.component import LabError, Proof
from deployments.lab.dns_server import client
from deployments.lab.lab import PROJECT
from deployments.lab.proof import of_process
from deployments.lab.region_address import ZONE

if TYPE_CHECKING:
    from deployments.lab.lab import Lab

PORT = 1
TTL_SECONDS = 5
PROBE = f"probe.{ZONE}"
DATABASE = f"db.{ZONE}"
ORDERS = f"orders.{ZONE}"


@dataclass(frozen=True)
class Route53:
    name: str = "route53"

    def start(self, lab: Lab) -> None:
        state = lab.path("shared", "zone.json")
        argv = [str(lab.python), "-m", "deployments.lab.route53_server", str(lab.port(PORT)), str(state)]
        lab.spawn(self.name, argv, cwd=PROJECT)
        lab.wait_for(self.name, lambda: zone_id(lab), seconds=20)
        known = records(lab)
        home = lab.regions["a"]
        for record, address in (
            (ORDERS, home.address),
            (DATABASE, home.database_address),
        ):  # only what is missing: a failover's change must survive an `up`
            if record not in known:
                upsert(lab, record, address)

    def prove(self, lab: Lab) -> Proof:
        begun = monotonic()
        upsert(lab, PROBE, "127.0.0.1")
        if records(lab).get(PROBE) != "127.0.0.1":
            raise LabError(f"{PROBE} was set and is not there", "restart the lab: dr lab down; dr lab up")
        return of_process(lab, self.name, address=endpoint(lab), said=f"UPSERT of {PROBE} read back", begun=begun)

    def environment(self, lab: Lab) -> dict[str, str]:
        return {"ROUTE53_ENDPOINT": endpoint(lab)}

    def stop(self, lab: Lab) -> None:
        lab.kill(self.name)


def endpoint(lab: Lab) -> str:
    return f"http://127.0.0.1:{lab.port(PORT)}"


def zone_id(lab: Lab) -> str:
    """The hosted zone's id, such as Z0ABC; the same in every life of the lab's state. Raises: LabError."""
    try:
        zones = client(endpoint(lab)).list_hosted_zones()["HostedZones"]
    except (BotoCoreError, ClientError) as error:
        raise LabError(f"Route53 API at {endpoint(lab)}: {error}", "dr lab up") from error
    for zone in zones:
        if zone["Name"] == ZONE:
            return zone["Id"].removeprefix("/hostedzone/")
    raise LabError(f"no hosted zone {ZONE} at {endpoint(lab)}", "dr lab up")


def records(lab: Lab) -> dict[str, str]:
    """Address by name, of the A records."""
    try:
        sets = client(endpoint(lab)).list_resource_record_sets(HostedZoneId=zone_id(lab))["ResourceRecordSets"]
    except (BotoCoreError, ClientError) as error:
        raise LabError(f"Route53 API at {endpoint(lab)}: {error}", "dr lab up") from error
    return {found["Name"]: found["ResourceRecords"][0]["Value"] for found in sets if found["Type"] == "A"}


def upsert(lab: Lab, name: str, address: str) -> None:
    """*name* (with its final dot) is an A record of *address*. Raises: LabError."""
    change = {
        "Action": "UPSERT",
        "ResourceRecordSet": {
            "Name": name,
            "Type": "A",
            "TTL": TTL_SECONDS,
            "ResourceRecords": [{"Value": address}],
        },
    }
    try:
        client(endpoint(lab)).change_resource_record_sets(HostedZoneId=zone_id(lab), ChangeBatch={"Changes": [change]})  # type: ignore[list-item]
    except (BotoCoreError, ClientError) as error:
        raise LabError(f"Route53 API: {json.dumps(change)}: {error}", "dr lab up") from error

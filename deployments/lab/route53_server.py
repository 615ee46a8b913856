"""Route53's API by moto, behind a threaded server, with a memory: moto alone forgets its zones with its process.

Run as `python -m deployments.lab.route53_server PORT STATE`. The zone's id is pinned by the site file: it must last."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cheroot import wsgi
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.route53.models import FakeZone, HostedZoneIdentifier, RecordSet, route53_backends
from moto.utilities.id_generator import moto_id_manager

from deployments.lab.region_address import ZONE

OWN = ("NS", "SOA")  # Route53 makes these itself
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def restore(state: Path) -> FakeZone:
    """The zone as it was last written down, under its old id; a new one the first time."""
    known = json.loads(state.read_text()) if state.exists() else {"id": None, "records": []}
    if known["id"]:
        moto_id_manager.set_custom_id(HostedZoneIdentifier(DEFAULT_ACCOUNT_ID, ZONE, None), known["id"])
    backend = route53_backends[DEFAULT_ACCOUNT_ID]["aws"]
    zone = backend.create_hosted_zone(ZONE, private_zone=False, caller_reference="lab")
    upserts = [{"Action": "UPSERT", "ResourceRecordSet": record} for record in known["records"]]
    backend.change_resource_record_sets(zone.resource_id, upserts)
    return zone


def write_down(zone: FakeZone, state: Path) -> None:
    records = [_as_given(record) for record in zone.rrsets if record.type not in OWN]
    draft = state.with_suffix(".new")
    draft.write_text(json.dumps({"id": zone.resource_id, "records": records}, indent=1))
    draft.replace(state)


def remembering(app: App, zone: FakeZone, state: Path) -> App:
    """*app*, which writes the zone down before a change of it is answered."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = list(app(environ, start_response))
        if environ["REQUEST_METHOD"] == "POST" and "/rrset" in environ["PATH_INFO"]:
            write_down(zone, state)
        return body

    return answer


def _as_given(record: RecordSet) -> dict[str, Any]:
    """The record as a client would send it."""
    given = {
        "Name": record.name,
        "Type": record.type,
        "TTL": record.ttl,
        "SetIdentifier": record.set_identifier,
        "Failover": record.failover,
        "Weight": record.weight,
        "HealthCheckId": record.health_check_id,
        "ResourceRecords": record.resource_records,
    }
    return {name: value for name, value in given.items() if value is not None}


def main(port: int, state: Path) -> None:
    zone = restore(state)
    write_down(zone, state)
    app = remembering(DomainDispatcherApplication(create_backend_app), zone, state)
    server = wsgi.Server(("127.0.0.1", port), app, numthreads=4)
    try:
        server.start()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

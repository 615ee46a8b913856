"""The A record by which clients find a database is moved, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks.errors import Refused, Unavailable
from runbooks.secret import Secret
from runbooks.site import Dns
from tasks.clients import route53
from tests.programs import free_port
from tests.test_lab_dns import Route53
from tests.test_lab_dns import route53 as serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Route53]:
    with serving(tmp_path_factory.mktemp("zone") / "zone.json") as zone:
        yield zone


def dns(served: Route53, folder: Path) -> Dns:
    where = key(folder)
    zone = served.zone().removeprefix("/hostedzone/")
    return Dns(hosted_zone_id=zone, endpoint=served.url, access_key=where, secret_key=where)


def test_moved(served: Route53, tmp_path: Path) -> None:
    """Its only value is the new address, its time to live stays; asked again, it is the same."""
    served.change("UPSERT", "db.lab.example.", "10.0.0.1")
    zone = route53.connect(dns(served, tmp_path))
    for _ in range(2):
        zone.point("db.lab.example", "10.0.0.2")
    assert zone.addresses("db.lab.example") == ("10.0.0.2",)


def test_record_that_is_not_plain(served: Route53, tmp_path: Path) -> None:
    """One of several by weight, or none at all, is not guessed at: nothing is changed."""
    served.change("UPSERT", "weighted.lab.example.", "10.0.0.1", SetIdentifier="one", Region="us-east-1")
    zone = route53.connect(dns(served, tmp_path))
    for name, told in (("weighted", "routing policy"), ("nobody", "no A record")):
        with pytest.raises(Refused, match=told):
            zone.point(f"{name}.lab.example", "10.0.0.2")
    assert zone.addresses("weighted.lab.example") == ("10.0.0.1",)
    assert zone.addresses("nobody.lab.example") == ()


def test_api_that_is_away(tmp_path: Path) -> None:
    """It may be asked again; and a site without a zone is told so."""
    zone = route53.connect(Dns(hosted_zone_id="Z1", endpoint=f"http://127.0.0.1:{free_port()}",
                               access_key=key(tmp_path), secret_key=key(tmp_path)))  # fmt: skip
    with pytest.raises(Unavailable, match="Route53 zone Z1"):
        zone.addresses("db.lab.example")
    with pytest.raises(Refused, match="names no hosted zone"):
        route53.connect(Dns())


def key(folder: Path) -> Secret:
    (folder / "key").write_text("lab")
    return Secret.model_validate(f"file:{folder / 'key'}")

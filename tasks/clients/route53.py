"""Route53: the A records of the site's hosted zone. What a name really leads to, DNS says (tasks.clients.dns)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ProfileNotFound

from runbooks.errors import Refused, Unavailable
from runbooks.site import Dns
from tasks import secrets

if TYPE_CHECKING:
    from mypy_boto3_route53 import Route53Client
    from mypy_boto3_route53.type_defs import ResourceRecordSetOutputTypeDef

SECONDS = 5
CREDENTIALS = "name a profile or key references under [dns] of the site file, or use boto3's default chain"
BUSY = {"Throttling", "PriorRequestNotComplete", "ServiceUnavailable"}


class Zone:
    def __init__(self, client: Route53Client, zone_id: str) -> None:
        self._client, self._id = client, zone_id

    def addresses(self, name: str) -> tuple[str, ...]:
        """What the record says; empty: there is none. Reads only. Raises: as `connect`."""
        found = self._record(name)
        return () if found is None else tuple(value["Value"] for value in found.get("ResourceRecords", []))

    def must_be_plain(self, name: str) -> None:
        """Raises: Refused: there is no such record, or one that answers by weight, health or alias."""
        found = self._record(name)
        if found is None or "SetIdentifier" in found or "AliasTarget" in found:
            told = "no A record" if found is None else "an A record with a routing policy or an alias"
            raise Refused(f"zone {self._id} has {told} for {name}", "only a plain A record is moved from here")

    def point(self, name: str, address: str) -> None:
        """The record's only value is *address*; its time to live stays. Raises: Refused: it is no plain record."""
        self.must_be_plain(name)
        found = self._record(name)
        assert found is not None
        record = {"Name": found["Name"], "Type": "A", "TTL": found["TTL"], "ResourceRecords": [{"Value": address}]}
        change = {"Action": "UPSERT", "ResourceRecordSet": record}
        with self._translated():
            self._client.change_resource_record_sets(HostedZoneId=self._id, ChangeBatch={"Changes": [change]})  # type: ignore[list-item]

    def _record(self, name: str) -> ResourceRecordSetOutputTypeDef | None:
        wanted = f"{name.rstrip('.')}."
        with self._translated():
            found = self._client.list_resource_record_sets(
                HostedZoneId=self._id, StartRecordName=wanted, StartRecordType="A", MaxItems="1"
            )["ResourceRecordSets"]
        return next((one for one in found if one["Name"] == wanted and one["Type"] == "A"), None)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        where = f"Route53 zone {self._id}"
        try:
            yield
        except NoCredentialsError as error:
            raise Refused(f"{where}: no credentials", CREDENTIALS) from error
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "an error"))
            if code in BUSY:
                raise Unavailable(
                    f"{where}: {code}", "ask again; changes of one zone are made one after another"
                ) from error
            raise Refused(f"{where}: {code}", "are the zone's id and the rights right?") from error
        except (BotoCoreError, OSError) as error:
            raise Unavailable(f"{where}: {type(error).__name__}", "does the endpoint answer?") from error


def connect(dns: Dns) -> Zone:
    """The site's zone; nothing is asked yet.

    Raises:
        Refused: the site names no zone, or no credentials; or the zone refuses us.
        Unavailable: (of what is asked) it does not answer.
    """
    if dns.hosted_zone_id is None:
        raise Refused("the site file names no hosted zone", "name it: dns.hosted_zone_id")
    access = secrets.read(dns.access_key) if dns.access_key else None
    secret = secrets.read(dns.secret_key) if dns.secret_key else None
    try:
        session = boto3.Session(aws_access_key_id=access, aws_secret_access_key=secret, profile_name=dns.profile)
    except ProfileNotFound as error:
        raise Refused(f"AWS profile {dns.profile!r} is not configured here", CREDENTIALS) from error
    config = Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries={"total_max_attempts": 1})
    client = session.client("route53", endpoint_url=dns.endpoint, region_name="us-east-1", config=config)
    return Zone(client, dns.hosted_zone_id)

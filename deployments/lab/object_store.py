"""S3 in each region, and the evidence store outside both: servers, buckets, and who may do what."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from deployments.lab import process, tls, weed
from deployments.lab.component import LabError, Proof
from deployments.lab.lab import Lab, tail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from deployments.lab.region_address import Region

BUCKETS = ("velero", "pgbackrest", "restic")
EVIDENCE = "evidence"
READ, WRITE = "Read,List", "Read,Write,List,Tagging"
GRANTS: dict[str, dict[str, str]] = {
    "velero-a": {"velero": WRITE},
    "velero-b": {"velero": WRITE},
    "pgbackrest-a": {"pgbackrest": WRITE},
    "pgbackrest-b": {"pgbackrest": WRITE},
    "restic": {"restic": WRITE},
    "runner": {"velero": READ, "pgbackrest": READ, "restic": READ},
}
"""One identity per cluster and role: fencing a lost region revokes its own, and nobody else's. The runner cannot delete
a backup."""
KEPT = ("runs/*", "locks/*", "incidents/*", "checks/*")
"""In the evidence store: what nobody who writes there may delete. Locks are given up by a conditional write."""
USER = "arn:aws:iam::000000000000:user"
EVIDENCE_GRANTS: dict[str, dict[str, str]] = {"runner": {EVIDENCE: WRITE}}


@dataclass(frozen=True)
class Keys:
    """An S3 identity's credentials."""

    access_key: str
    secret_key: str


def identity(lab: Lab, name: str) -> Keys:
    """The keys of `admin` or one of GRANTS; the same in both regions and in the evidence store."""
    return Keys(lab.secret(f"s3-{name}-access", length=20), lab.secret(f"s3-{name}-secret", length=40))


def client(url: str, keys: Keys) -> S3Client:
    """A client that gives up soon and asks once."""
    config = Config(
        connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
    )
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        config=config,
    )


def server(lab: Lab, region: Region) -> weed.Server:
    """The region's SeaweedFS."""
    ports = region.ports
    data = lab.root / region.name / "s3"
    return weed.Server(f"s3-{region.name}", region.name, region.address, ports.weed, ports.s3, ports.s3_tls, data)


@dataclass(frozen=True)
class ObjectStore:
    """The region's S3, on http for Velero and on https for pgBackRest."""

    region: Region

    @property
    def name(self) -> str:
        return f"s3-{self.region.name}"

    def start(self, lab: Lab) -> None:
        _start(lab, server(lab, self.region), BUCKETS, GRANTS, url=self.region.s3_url)

    def prove(self, lab: Lab) -> Proof:
        return _prove(lab, self.name, self.region.name, self.region.s3_url, "velero", f"velero-{self.region.name}")

    def environment(self, lab: Lab) -> dict[str, str]:
        keys = identity(lab, "admin")
        return {
            f"S3_ENDPOINT_{self.region.name.upper()}": self.region.s3_tls_url,
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "AWS_CA_BUNDLE": str(tls.s3_authority(lab)),
        }

    def stop(self, lab: Lab) -> None:
        lab.kill(self.name)


@dataclass(frozen=True)
class EvidenceStore:
    """Where runs keep their journals: outside of what they may break."""

    name: str = "evidence-store"

    def start(self, lab: Lab) -> None:
        port = lab.port(4)
        data = lab.root / "shared" / "s3"
        store = weed.Server(self.name, None, "127.0.0.1", lab.port(50), port, None, data)
        _start(lab, store, (EVIDENCE,), EVIDENCE_GRANTS, url=evidence_url(lab))
        _keep(lab, evidence_url(lab), EVIDENCE, "runner")

    def prove(self, lab: Lab) -> Proof:
        return _prove(lab, self.name, None, evidence_url(lab), EVIDENCE, "runner")

    def environment(self, lab: Lab) -> dict[str, str]:
        return {"S3_ENDPOINT_EVIDENCE": evidence_url(lab), "EVIDENCE": str(lab.folder("evidence"))}

    def stop(self, lab: Lab) -> None:
        lab.kill(self.name)


def evidence_url(lab: Lab) -> str:
    return f"http://127.0.0.1:{lab.port(4)}"


def round_trip(url: str, keys: Keys, bucket: str) -> None:
    """An object was written, read back and deleted. Raises: LabError with what S3 said."""
    key, content = f"probe-{uuid4()}", uuid4().bytes
    s3 = client(url, keys)
    with translated(url):
        s3.put_object(Bucket=bucket, Key=key, Body=content)
        read = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        s3.delete_object(Bucket=bucket, Key=key)
    if read != content:
        raise LabError(f"S3 at {url} returned other bytes than were written", "its disk may be full")


@contextmanager
def translated(url: str) -> Iterator[None]:
    """No error of boto3 leaves."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise LabError(f"S3 at {url}: {error}", "dr lab up starts it again; dr lab status") from error


def _start(
    lab: Lab, store: weed.Server, buckets: tuple[str, ...], grants: dict[str, dict[str, str]], *, url: str
) -> None:
    admin = identity(lab, "admin")
    certificate = tls.s3_certificate(lab) if store.s3_tls_port else None
    weed.launch(lab, store, weed.identity_file(lab, admin.access_key, admin.secret_key), certificate=certificate)
    for bucket in buckets:
        lab.wait_for(store.name, partial(_has_bucket, url, admin, bucket), seconds=60)
    if not all(_is_granted(lab, url, name, allowed) for name, allowed in grants.items()):
        weed.shell(
            lab,
            store,
            [_grant(lab, name, bucket, actions) for name in grants for bucket, actions in grants[name].items()],
        )


def _has_bucket(url: str, keys: Keys, bucket: str) -> bool:
    """Only a PUT proves it: the port is open seconds before."""
    s3 = client(url, keys)
    try:
        s3.create_bucket(Bucket=bucket)
    except (s3.exceptions.BucketAlreadyExists, s3.exceptions.BucketAlreadyOwnedByYou):
        pass  # a first try that timed out may have made it all the same
    except (BotoCoreError, ClientError) as error:
        raise LabError(str(error), "") from error
    round_trip(url, keys, bucket)
    return True


def _keep(lab: Lab, url: str, bucket: str, user: str) -> None:
    """*user* can neither delete what is evidence nor turn the versions off that show what was overwritten.

    An identity's Write means both in SeaweedFS; a policy of the bucket takes them away again (measured).
    """
    here = f"arn:aws:s3:::{bucket}"
    denied = {
        "Effect": "Deny",
        "Principal": {"AWS": f"{USER}/{user}"},
        "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutBucketVersioning"],
        "Resource": [here, *(f"{here}/{keys}" for keys in KEPT)],
    }
    s3 = client(url, identity(lab, "admin"))
    with translated(url):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]}))


def _grant(lab: Lab, name: str, bucket: str, actions: str) -> str:
    keys = identity(lab, name)
    access = f"-access_key={keys.access_key} -secret_key={keys.secret_key}"
    return f"s3.configure -user={name} {access} -actions={actions} -buckets={bucket} -apply"


def _is_granted(lab: Lab, url: str, name: str, allowed: dict[str, str]) -> bool:
    s3 = client(url, identity(lab, name))
    try:
        for bucket in allowed:
            s3.list_objects_v2(Bucket=bucket, MaxKeys=1)
    except (BotoCoreError, ClientError):
        return False
    return True


def _prove(lab: Lab, name: str, region: str | None, url: str, bucket: str, user: str) -> Proof:
    started = monotonic()
    running = lab.running(name)
    if running is None:
        raise LabError(f"{name} is not running: {tail(lab.log(name))}", "dr lab up starts it again")
    round_trip(url, identity(lab, user), bucket)
    said = f"PUT, GET and DELETE in bucket {bucket} as {user}, {1000 * (monotonic() - started):.0f} ms"
    return Proof(name, region, url, running.pid, process.memory_bytes(process.descendants(running.pid)), said)

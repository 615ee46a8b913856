"""Writes `.lab/site.toml`: the lab's site file with its addresses, its pins, and references to its secrets."""

from __future__ import annotations

import hashlib
import re
import ssl
from typing import TYPE_CHECKING

from deployments.lab import (
    cluster_identity,
    dns,
    documents,
    kube,
    object_store,
    observer,
    postgres,
    postgres_files,
    prefect_server,
    route53,
    slack,
    ssh,
)
from deployments.lab.component import LabError
from deployments.lab.lab import PROJECT
from deployments.lab.template import fill_text

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

TEMPLATE = PROJECT / "deployments" / "sites" / "lab.toml"


def render(lab: Lab) -> Path:
    """The site file of the lab as it is now: region b stands in it while its cluster, or its database, runs.

    Raises: LabError for a part that is not up, or a @KEY@ of the template that nobody fills in."""
    clusters = [region for region in lab.regions.values() if lab.running(f"cluster-{region.name}")]
    values = {**_shared(lab), **_database(lab), **_documents(lab)}
    for region in clusters:
        values |= _region(lab, region)
    has_b = lab.only_database or lab.regions["b"] in clusters
    for region in lab.regions.values() if has_b else [lab.regions["a"]]:
        values |= host(lab, region)
    absent = [] if has_b else ["region b"]
    absent += ["clusters"] if lab.only_database else ["no clusters"]
    absent += [] if lab.has_prefect else ["prefect"]
    template = without(TEMPLATE.read_text(), absent)
    written = lab.path("site.toml")
    draft = written.with_suffix(".new")
    draft.write_text(fill_text(template, values, name=str(TEMPLATE)))
    draft.replace(written)
    return written


def without(text: str, absent: list[str]) -> str:
    """The template without the passages of these names, each between `# NAME` and `# end NAME`."""
    for name in absent:
        text = re.sub(rf"^# {name}\n.*?^# end {name}\n", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^# (end )?(region b|clusters|no clusters|prefect)\n", "", text, flags=re.MULTILINE)


def cluster_uid(lab: Lab, region: Region) -> str:
    """What lasts as long as the cluster: the UID of kube-system."""
    found = kube.api(lab, region).get("/api/v1/namespaces/kube-system")
    if found is None:
        raise LabError(f"cluster {region.name} has no namespace kube-system yet", "dr lab up waits for it")
    return str(found["metadata"]["uid"])


def authority_sha256(lab: Lab, region: Region) -> str:
    """Of the API's authority, in DER."""
    certificate = (cluster_identity.folder(lab, region) / "ca.crt").read_text()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


def _region(lab: Lab, region: Region) -> dict[str, str]:
    values = {
        "KUBECONFIG": str(cluster_identity.kubeconfig(lab, region, "runner")),
        "CLUSTER_UID": cluster_uid(lab, region),
        "CA_SHA256": authority_sha256(lab, region),
        "S3_ENDPOINT": region.s3_url,
        "S3_ACCESS_KEY_FILE": _secret(lab, "s3-runner-access"),
        "S3_SECRET_KEY_FILE": _secret(lab, "s3-runner-secret"),
    }
    return {f"{key}_{region.name.upper()}": value for key, value in values.items()}


def host(lab: Lab, region: Region) -> dict[str, str]:
    """How the region's database host is reached, and where its files are."""
    values = {
        "SSH_HOST": region.address,
        "SSH_PORT": str(region.ports.ssh),
        "SSH_HOST_KEY": ssh.public_key(lab, region),
        "PG_FOLDER": str(postgres_files.files(lab, region).root),
        "PG_PORT": str(region.ports.postgres),
        "PG_ADDRESS": region.database_address,
        "PG_FOLLOWS": postgres_files.following(region, postgres_files.files(lab, region)),
        "PG_SCRATCH_PORT": str(region.ports.scratch),
        "PG_SCRATCH_ADDRESS": region.scratch_address,
    }
    return {f"{key}_{region.name.upper()}": value for key, value in values.items()}


def _database(lab: Lab) -> dict[str, str]:
    home = lab.regions["a"]
    return {
        "PG_HOST": route53.DATABASE.rstrip("."),
        "ORDERS_PORT": str(home.ports.orders),
        "ORDERS_PASSWORD_FILE": _secret(lab, "postgres-orders"),
        "SSH_KEY_FILE": str(ssh.key(lab)),
        "PG_PROGRAMS": str(postgres_files.PROGRAMS),
        "SYSTEM_ID": postgres.system_identifier(lab, home),
    }


def _documents(lab: Lab) -> dict[str, str]:
    home = lab.regions["a"]
    object_store.identity(lab, "restic")
    return {
        "DOCUMENTS_A": str(documents.root(lab, home)),
        "RESTIC_REPOSITORY_A": documents.repository(home),
        "RESTIC_PASSWORD_FILE": str(documents.password_file(lab)),
        "RESTIC_ACCESS_KEY_FILE": _secret(lab, "s3-restic-access"),
        "RESTIC_SECRET_KEY_FILE": _secret(lab, "s3-restic-secret"),
    }


def _shared(lab: Lab) -> dict[str, str]:
    object_store.identity(lab, "runner")  # makes its keys' files, if nobody has yet
    lab.secret("evidence-hmac")
    return {
        "EVIDENCE_DIR": str(lab.folder("evidence")),
        "HMAC_KEY_FILE": _secret(lab, "evidence-hmac"),
        "EVIDENCE_ENDPOINT": object_store.evidence_url(lab),
        "EVIDENCE_ACCESS_KEY_FILE": _secret(lab, "s3-runner-access"),
        "EVIDENCE_SECRET_KEY_FILE": _secret(lab, "s3-runner-secret"),
        "OBSERVER_DIR": str(observer.samples(lab).parent),
        "SLACK_TOKEN_FILE": str(slack.token_file(lab)),
        "SLACK_URL": f"{slack.page(lab)}/api/",
        "DNS_SERVER": dns.server(lab),
        "ZONE_ID": route53.zone_id(lab),
        "ROUTE53_URL": route53.endpoint(lab),
        "PREFECT_API_URL": prefect_server.api(lab),
    }


def _secret(lab: Lab, name: str) -> str:
    return str(lab.path("secrets", name))

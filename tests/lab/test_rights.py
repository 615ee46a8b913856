"""The lab runs with our least rights: Kubernetes roles and S3 keys of the runner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from runbooks import site as sites
from runbooks.model import now
from tests.lab.the_lab import ROOT, TheLab

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
DRILL = ("run", "namespace-deletion", "--site", "lab", "--mode", "drill", "--impact", "real", "--yes", "--no-server")
REFUSED = 3
RBAC = str(ROOT / "deployments" / "server" / "rbac.yaml")


def secret(name: str) -> str:
    return (ROOT / ".lab" / "secrets" / name).read_text()


def s3(url: str, user: str) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=secret(f"s3-{user}-access"),
        aws_secret_access_key=secret(f"s3-{user}-secret"),
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def test_no_cluster_admin(lab: TheLab) -> None:
    """The account of the site file may read and restore, but neither delete a backup nor do as it likes."""
    config = sites.read(ROOT / ".lab" / "site.toml", "lab").region("a").kubernetes.kubeconfig
    runner = (f"--kubeconfig={config}", "auth", "can-i")
    assert lab.kubectl_answer(*runner, "create", "restores.velero.io", "-n", "velero") == "yes"
    for wish in (
        ("*", "*"),
        ("delete", "backups.velero.io", "-n", "velero"),
        ("create", "deletebackuprequests.velero.io", "-n", "velero"),
        ("get", "secrets", "-n", "velero"),
        ("create", "deployments.apps", "-n", "production"),
    ):
        assert lab.kubectl_answer(*runner, *wish) == "no", wish


@pytest.fixture
def whole_again(lab: TheLab) -> Iterator[None]:
    yield
    lab.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=dr-lab", "-f", RBAC)


@pytest.mark.usefixtures("whole_again")
@pytest.mark.parametrize(
    ("kind", "role", "says"),
    [
        ("clusterrole", "dr-runbooks-breaker", "create persistentvolumeclaims"),
        ("role", "dr-runbooks-runner", "restores.velero.io"),
    ],
)
def test_role_taken_away(lab: TheLab, kind: str, role: str, says: str) -> None:
    """Refused before the break, as on the fake world, and the namespace is the one it was."""
    uid = lab.get("namespace", "production")["metadata"]["uid"]
    where = ("-n", "velero") if kind == "role" else ()
    lab.kubectl(*where, "patch", kind, role, "--type=json", "-p", '[{"op":"replace","path":"/rules","value":[]}]')
    done = lab.dr(*DRILL, "--run-id", f"test-{now():%m%d-%H%M%S}-rights")
    assert done.returncode == REFUSED, done.stderr
    assert says in done.stderr
    assert f"bind {role} of deployments/server/rbac.yaml" in done.stderr
    found = lab.get("namespace", "production")["metadata"]
    assert (found["uid"], "deletionTimestamp" in found) == (uid, False)


def test_backup_cannot_be_deleted(lab: TheLab) -> None:
    """With the runner's key: nothing of a backup is deleted or written over."""
    url = f"http://{lab.env['ORDERS_URL_A'].split('/')[2].split(':')[0]}:8333"
    store = s3(url, "runner")
    key = store.list_objects_v2(Bucket="velero", Prefix="backups/", MaxKeys=1)["Contents"][0]["Key"]
    attempts: tuple[Callable[[], object], ...] = (
        lambda: store.delete_object(Bucket="velero", Key=key),
        lambda: store.put_object(Bucket="velero", Key=key, Body=b""),
        lambda: store.delete_bucket(Bucket="velero"),
    )
    for attempt in attempts:
        with pytest.raises(ClientError, match="AccessDenied"):
            attempt()
    assert store.head_object(Bucket="velero", Key=key)["ContentLength"] > 0


def test_evidence_cannot_be_deleted(lab: TheLab) -> None:
    """The runner writes evidence and gives up locks, but deletes nothing, and what was written over stays a version."""
    store = s3(lab.env["S3_ENDPOINT_EVIDENCE"], "runner")
    key = f"runs/test-rights-{now():%m%d%H%M%S}/probe"
    store.put_object(Bucket="evidence", Key=key, Body=b"first")
    store.put_object(Bucket="evidence", Key=key, Body=b"second")
    attempts: tuple[Callable[[], object], ...] = (
        lambda: store.delete_object(Bucket="evidence", Key=key),
        lambda: store.delete_bucket(Bucket="evidence"),
        lambda: store.delete_bucket_policy(Bucket="evidence"),
        lambda: store.put_bucket_versioning(Bucket="evidence", VersioningConfiguration={"Status": "Suspended"}),
    )
    for attempt in attempts:
        with pytest.raises(ClientError, match="AccessDenied"):
            attempt()
    several = store.delete_objects(Bucket="evidence", Delete={"Objects": [{"Key": key}]})
    assert [one["Code"] for one in several["Errors"]] == ["AccessDenied"]
    versions = s3(lab.env["S3_ENDPOINT_EVIDENCE"], "admin").list_object_versions(Bucket="evidence", Prefix=key)
    assert len(versions["Versions"]) == 2

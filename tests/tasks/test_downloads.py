"""What is in an unpacked backup."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from tasks import downloads

pytestmark = pytest.mark.slow

FILES = {
    "metadata/version": "1.1.0",
    "resources/configmaps/namespaces/production/orders.json": {"kind": "ConfigMap"},
    "resources/configmaps/v1-preferredversion/namespaces/production/orders.json": {"kind": "ConfigMap"},
    "resources/deployments.apps/namespaces/production/orders.json": {"kind": "Deployment"},
    "resources/deployments.apps/v1-preferredversion/namespaces/production/orders.json": {"kind": "Deployment"},
    "resources/namespaces/cluster/production.json": {"kind": "Namespace"},
    "resources/namespaces/v1-preferredversion/cluster/production.json": {"kind": "Namespace"},
}


def archive() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in FILES.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return made.getvalue()


def test_objects_of_a_backup() -> None:
    """Each once, though Velero stores it a second time under its version; cluster-scoped ones, too."""
    assert [o["kind"] for o in downloads.objects(archive())] == ["ConfigMap", "Deployment", "Namespace"]


def test_first_errors() -> None:
    """Of every group, and no more than three."""
    results = {
        "errors": {"velero": ["one"], "namespaces": {"production": ["two", "three"], "shop": ["four"]}},
        "warnings": {"cluster": ["no matter"]},
    }
    assert downloads.first_errors(json.dumps(results).encode()) == "one; two; three"
    assert downloads.first_errors(b'{"errors": {}, "warnings": {}}') == ""

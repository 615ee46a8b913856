"""What Velero keeps in the bucket, fetched by a DownloadRequest and its presigned address."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from runbooks.errors import Unavailable
from runbooks.model import spell
from tasks import made
from tasks.cases import Case
from tasks.clients import http
from tasks.clients.kubernetes import Api, Object

REQUEST = ("velero.io/v1", "DownloadRequest")
ANSWERED_WITHIN = timedelta(seconds=30)
READ_WITHIN = timedelta(minutes=2)
NAMED = 3
LONGEST = 256
GZIP = b"\x1f\x8b"
# Beside these, each object is there once more under the version it was read in.
OBJECT = re.compile(r"resources/[^/]+/(?:cluster|namespaces/[^/]+)/[^/]+\.json")


def fetch(case: Case, api: Api, kind: str, name: str) -> bytes:
    """The unpacked content of a *kind* such as BackupContents or RestoreLog.

    Changes: one DownloadRequest, which Velero removes when its address has run out (10 min).

    Raises:
        Unavailable: Velero or its bucket does not answer.
    """
    namespace = case.cluster.velero_namespace
    # A new one each time: the address of an older one may have run out.
    request = case.name(f"get-{len(case.journal.entries)}")
    target = {"target": {"kind": kind, "name": name}}
    made.ensure(case, api, REQUEST, namespace, made.body(case, REQUEST, request, namespace, spec=target))
    answer = http.get(_address(api, request, namespace, kind), within=READ_WITHIN, dns=case.site.dns)
    if answer.status != HTTPStatus.OK:
        raise Unavailable(
            f"{kind} of {name}: the object store answered {answer.status}",
            "is it in the bucket? velero backup describe NAME --details, and the log of Velero",
        )
    return gzip.decompress(answer.body) if answer.body.startswith(GZIP) else answer.body


def _address(api: Api, request: str, namespace: str, kind: str) -> str:
    for seen in api.follow(*REQUEST, namespace=namespace, name=request, within=ANSWERED_WITHIN):
        status = seen.get(request, {}).get("status") or {}
        if status.get("phase") == "Processed" and status.get("downloadURL"):
            return str(status["downloadURL"])
    raise Unavailable(
        f"Velero did not answer DownloadRequest {request} for {kind} within {spell(ANSWERED_WITHIN)}",
        "does Velero run, and does it reach its bucket? velero backup-location get",
    )


def objects(contents: bytes) -> Iterator[Object]:
    """The objects in the unpacked BackupContents, each once. Source: velero's backup file format 1.1.0."""
    with tarfile.open(fileobj=io.BytesIO(contents)) as archive:
        for member in archive:
            if OBJECT.fullmatch(member.name) and (file := archive.extractfile(member)) is not None:
                yield json.load(file)


def first_errors(results: bytes) -> str:
    """The first three errors in the unpacked BackupResults or RestoreResults."""
    return "; ".join(text[:LONGEST] for text in list(_texts(json.loads(results).get("errors") or {}))[:NAMED])


def _texts(found: Any) -> Iterator[str]:
    """They are grouped by velero, cluster and namespace."""
    if isinstance(found, str):
        yield found
    for below in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from _texts(below)

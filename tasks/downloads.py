"""What Velero keeps in the bucket, fetched by a DownloadRequest and its presigned address."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import time
from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from runbooks.errors import Unavailable
from runbooks.model import spell
from runbooks.site import Dns
from tasks import made
from tasks.cases import Case
from tasks.clients import http
from tasks.clients.kubernetes import Api, Object

REQUEST = ("velero.io/v1", "DownloadRequest")
ANSWERED_WITHIN = timedelta(seconds=30)
READ_WITHIN = timedelta(minutes=2)
ADDRESS_LASTS = timedelta(minutes=9)
PAUSE_SECONDS = 0.5
PATIENCE = timedelta(minutes=2)
"""Where a run cannot go on without: an object store that is restarted is back by then."""
IN_THE_BUCKET = "is it in the bucket? velero backup describe NAME --details, and the log of Velero"
NAMED = 3
LONGEST = 256
GZIP = b"\x1f\x8b"
# Beside these, each object is there once more under the version it was read in.
OBJECT = re.compile(r"resources/[^/]+/(?:cluster|namespaces/[^/]+)/[^/]+\.json")


def patience(case: Case) -> timedelta:
    return min(PATIENCE, case.within(case.phase or "prepare"))


class NotInBucket(Unavailable):
    """Asking again does not help."""


def fetch(case: Case, api: Api, kind: str, name: str, *, within: timedelta = timedelta()) -> bytes:
    """The unpacked content of a *kind* such as BackupContents or RestoreLog; asked for again *within*.

    Changes: a DownloadRequest each time, which Velero removes when its address has run out (10 min).

    Raises:
        Unavailable: Velero or its bucket does not answer.
    """
    began, is_told = time.monotonic(), False
    while True:
        try:
            content = _fetch(case, api, kind, name, began + within.total_seconds())
        except NotInBucket:
            raise
        except Unavailable as error:
            left = began + within.total_seconds() - time.monotonic()
            if left <= PAUSE_SECONDS:
                raise
            if not is_told:
                case.event(f"{error.problem}; asked again for {left:.0f} s")
                is_told = True
            time.sleep(PAUSE_SECONDS)
        else:
            if is_told:
                case.event(f"{kind} of {name} is there, after {time.monotonic() - began:.0f} s")
            return content


def _fetch(case: Case, api: Api, kind: str, name: str, end: float) -> bytes:
    namespace = case.cluster.velero_namespace
    # A new one each time: the address of an older one may have run out.
    request = case.name(f"get-{len(case.journal.entries)}")
    target = {"target": {"kind": kind, "name": name}}
    made.ensure(case, api, REQUEST, namespace, made.body(case, REQUEST, request, namespace, spec=target))
    address = _address(api, request, namespace, kind)
    answer = _read(address, case.site.dns, end)
    if answer.status == HTTPStatus.NOT_FOUND:
        raise NotInBucket(f"{kind} of {name}: the object store answered {answer.status}", IN_THE_BUCKET)
    if answer.status != HTTPStatus.OK:
        raise Unavailable(f"{kind} of {name}: the object store answered {answer.status}", IN_THE_BUCKET)
    return gzip.decompress(answer.body) if answer.body.startswith(GZIP) else answer.body


def _read(address: str, dns: Dns, end: float) -> http.Answer:
    """Asked twice a second while the store is in trouble: the address is good for 10 min, a new one costs a write."""
    good_until = min(time.monotonic() + ADDRESS_LASTS.total_seconds(), end - PAUSE_SECONDS)
    while True:
        try:
            answer = http.get(address, within=READ_WITHIN, dns=dns)
        except Unavailable:
            if time.monotonic() >= good_until:
                raise
        else:
            if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR or time.monotonic() >= good_until:
                return answer
        time.sleep(PAUSE_SECONDS)


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

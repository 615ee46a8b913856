"""How Velero is asked for something, and how it is followed until it has ended."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

from tests.contract.client import WATCHED_SECONDS, Client, wait

VELERO = "/apis/velero.io/v1/namespaces/velero"
ENDED = ("Completed", "PartiallyFailed", "Failed", "FailedValidation")


def follow(client: Client, plural: str, name: str, version: str) -> tuple[list[str], dict[str, Any]]:
    """The phases it went through, each once, and what it was in the end."""
    phases: list[str] = []
    where = {"fieldSelector": f"metadata.name={name}", "resourceVersion": version, "timeoutSeconds": WATCHED_SECONDS}
    with client.watching(f"{VELERO}/{plural}", **where) as events:
        for event in events:
            phase = event["object"].get("status", {}).get("phase") or "New"
            phases += [phase] if phases[-1:] != [phase] else []
            if phase in ENDED and ("completionTimestamp" in event["object"]["status"] or phase == "FailedValidation"):
                return phases, event["object"]
    raise AssertionError(f"{plural}/{name} did not end; it was {phases}")


def begin(client: Client, kind: str, plural: str, name: str, spec: dict[str, Any]) -> str:
    """Create it; from which version on to follow it."""
    meta = {"name": name, "namespace": "velero"}
    body = {"apiVersion": "velero.io/v1", "kind": kind, "metadata": meta, "spec": spec}
    made = client.expect(201, "POST", f"{VELERO}/{plural}", body)
    assert made["metadata"]["generation"] == 1
    return str(int(made["metadata"]["resourceVersion"]) - 1)


def download(client: Client, kind: str, name: str) -> bytes:
    """By a DownloadRequest, as Velero's own client does."""
    request = f"contract-{uuid.uuid4().hex[:8]}"
    begin(client, "DownloadRequest", "downloadrequests", request, {"target": {"kind": kind, "name": name}})
    where = f"{VELERO}/downloadrequests/{request}"
    url = wait(lambda: client.get(where).get("status", {}).get("downloadURL"), f"the address of {kind} {name}")
    client.ask("DELETE", where)
    answer = httpx.get(str(url), verify=False, timeout=10)
    assert answer.status_code == 200, f"{kind} {name}: {answer.status_code} {answer.text}"
    return answer.content

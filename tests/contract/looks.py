"""Small objects, and looks at the cluster that several tests take."""

from __future__ import annotations

from typing import Any

from tests.contract.client import Client


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"for": "contract"}}, "data": data}


def pods_of(client: Client, namespace: str, selector: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector)["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def addresses(client: Client, namespace: str, service: str) -> list[str]:
    """What a Service's ready endpoints point to."""
    where = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    slices = client.get(where, labelSelector=f"kubernetes.io/service-name={service}")["items"]
    found = [end for one in slices for end in one["endpoints"] or [] if end["conditions"]["ready"]]
    return sorted(end["targetRef"]["name"] for end in found)

"""The lab's own way to a cluster: a few calls of its API as the administrator, and kubectl for manifests."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from deployments.lab.component import LabError, wait_for

if TYPE_CHECKING:
    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

Object = dict[str, Any]
TIME_LIMIT_SECONDS = 5


@dataclass(frozen=True)
class Api:
    """One cluster's API, with an account's token."""

    url: str
    token: str
    trust: ssl.SSLContext

    def get(self, path: str) -> Object | None:
        """The object or list at *path*; None when there is none."""
        return self._ask("GET", path, None)

    def create(self, path: str, body: Object) -> Object | None:
        return self._ask("POST", path, body)

    def patch(self, path: str, body: Object) -> Object | None:
        """A merge patch."""
        return self._ask("PATCH", path, body)

    def delete(self, path: str, *, grace_seconds: int = 0) -> Object | None:
        return self._ask("DELETE", path, {"gracePeriodSeconds": grace_seconds})

    def _ask(self, verb: str, path: str, body: Object | None) -> Object | None:
        kind = "application/merge-patch+json" if verb == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        content = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data=content, headers=headers, method=verb)
        try:
            with urlopen(request, timeout=TIME_LIMIT_SECONDS, context=self.trust) as answer:
                text = answer.read()
        except HTTPError as error:
            if error.code == 404:
                return None
            said = error.read().decode(errors="replace")[:300]
            raise LabError(f"{verb} {path}: {error.code} {said}", f"API of the cluster at {self.url}") from error
        except (URLError, HTTPException, OSError) as error:
            raise LabError(f"{verb} {self.url}{path}: {error}", "is the cluster up? dr lab status") from error
        return dict(json.loads(text)) if text.startswith(b"{") else {"text": text.decode()}


def api(lab: Lab, region: Region) -> Api:
    """The cluster of *region*, as its administrator. Raises: LabError."""
    authority = lab.root / region.name / "pki" / "ca.crt"
    if not authority.exists():
        raise LabError(f"cluster {region.name} was never started", f"dr lab up --regions a,{region.name}")
    trust = ssl.create_default_context(cafile=str(authority))
    return Api(region.api_url, lab.secret(f"token-{region.name}-admin"), trust)


def kubectl(lab: Lab, region: Region, *arguments: str, input: str | None = None, seconds: float = 60) -> str:
    """What kubectl printed, run on the host as the cluster's administrator. Raises: LabError."""
    config = lab.root / region.name / "kubeconfig"
    return lab.run([str(lab.bin / "kubectl"), f"--kubeconfig={config}", *arguments], input=input, seconds=seconds)


def apply(lab: Lab, region: Region, manifests: str) -> None:
    """The objects of a YAML text are there as written; what others changed in their own fields stays."""
    kubectl(
        lab, region, "apply", "--server-side", "--force-conflicts", "--field-manager=dr-lab", "-f", "-", input=manifests
    )


def wait_until_available(lab: Lab, region: Region, namespace: str, name: str, *, kind: str, seconds: float) -> None:
    """Every pod that the Deployment or DaemonSet wants is ready, in its present generation."""
    path = f"/apis/apps/v1/namespaces/{namespace}/{kind}/{name}"
    cluster = api(lab, region)
    wait_for(
        lambda: _is_available(cluster.get(path), name),
        what=f"{kind} {namespace}/{name} in cluster {region.name}",
        seconds=seconds,
        hint=f"kubectl -n {namespace} describe pods",
    )


def _is_available(found: Object | None, name: str) -> bool:
    if found is None:
        raise LabError(f"{name} does not exist", "")
    status = found.get("status", {})
    wanted = found["spec"].get("replicas", status.get("desiredNumberScheduled", 0))
    ready = min(status.get("numberAvailable") or status.get("availableReplicas") or 0, _updated(status))
    if status.get("observedGeneration") != found["metadata"]["generation"] or not wanted or ready < wanted:
        raise LabError(f"{ready} of {wanted} pods ready", "")
    return True


def _updated(status: Object) -> int:
    return int(status.get("updatedNumberScheduled") or status.get("updatedReplicas") or 0)

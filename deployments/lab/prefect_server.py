"""The Prefect server: outside both regions, with its own database, and silent towards the outside."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import httpx

from deployments.lab.component import LabError, Proof
from deployments.lab.proof import of_process

if TYPE_CHECKING:
    from deployments.lab.lab import Lab

PORT = 0


@dataclass(frozen=True)
class PrefectServer:
    name: str = "prefect"

    def start(self, lab: Lab) -> None:
        lab.spawn(self.name, [str(lab.python), "-m", "prefect", "server", "start"], env=settings(lab))
        lab.wait_for(self.name, lambda: count_flows(lab), seconds=120)

    def prove(self, lab: Lab) -> Proof:
        begun = monotonic()
        flows = count_flows(lab)
        return of_process(lab, self.name, address=ui(lab), said=f"healthy, counted {flows} flows", begun=begun)

    def environment(self, lab: Lab) -> dict[str, str]:
        return {"PREFECT_API_URL": api(lab)}

    def stop(self, lab: Lab) -> None:
        lab.kill(self.name)


def ui(lab: Lab) -> str:
    return f"http://127.0.0.1:{lab.port(PORT)}"


def api(lab: Lab) -> str:
    return f"{ui(lab)}/api"


def settings(lab: Lab) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(lab.folder("shared", "prefect")),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(lab.port(PORT)),
        "PREFECT_SERVER_UI_API_URL": api(lab),  # else the UI calls port 4200
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def count_flows(lab: Lab) -> int:
    """Raises: LabError, unless the server is healthy and its database answers."""
    try:
        httpx.get(f"{api(lab)}/health", timeout=2).raise_for_status()
        counted = httpx.post(f"{api(lab)}/flows/count", json={}, timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        raise LabError(f"Prefect server at {api(lab)}: {error}", "dr lab up") from error
    return int(counted.json())

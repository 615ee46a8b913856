"""A completed backup of the application, so that a drill may start as soon as the lab is up."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from deployments.lab import application, kube
from deployments.lab.component import Proof
from deployments.lab.proof import milliseconds

if TYPE_CHECKING:
    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region


@dataclass(frozen=True)
class FirstBackup:
    """Taken while the observer watches, which records the state that it should hold."""

    region: Region
    name: str = "first-backup"

    def start(self, lab: Lab) -> None:
        """Nothing, in a cluster that a disaster has emptied: bringing the application back is not for the lab to do."""
        if kube.api(lab, self.region).get(f"/api/v1/namespaces/{application.NAMESPACE}"):
            application.first_backup(lab, self.region)

    def prove(self, lab: Lab) -> Proof:
        begun = monotonic()
        name = application.first_backup(lab, self.region)
        return Proof(self.name, self.region.name, name, None, None, f"Completed, {milliseconds(begun)}")

    def environment(self, lab: Lab) -> dict[str, str]:
        return {}

    def stop(self, lab: Lab) -> None:
        """It ends with its object store."""

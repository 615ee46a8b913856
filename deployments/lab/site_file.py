"""`.lab/site.toml`, made when all that it names is there."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from deployments.lab import site
from deployments.lab.component import LabError, Proof
from deployments.lab.proof import milliseconds

if TYPE_CHECKING:
    from deployments.lab.lab import Lab


@dataclass(frozen=True)
class SiteFile:
    """What `--site lab` means."""

    name: str = "site-file"

    def start(self, lab: Lab) -> None:
        site.render(lab)

    def prove(self, lab: Lab) -> Proof:
        """It names the clusters, or the database, that are running now, by the identity they have."""
        begun = monotonic()
        path = lab.root / "site.toml"
        try:
            written = tomllib.loads(path.read_text())
        except FileNotFoundError as error:
            raise LabError(f"{path} is missing", "dr lab up writes it") from error
        pinned = {region["name"]: region["cluster"]["uid"] for region in written["regions"] if "cluster" in region}
        for name, uid in pinned.items():
            seen = site.cluster_uid(lab, lab.regions[name])
            if seen != uid:
                raise LabError(f"{path} pins cluster {name} as {uid}, it is {seen}", "dr lab up writes it again")
        count = len(pinned) or len(written["databases"])
        kind = "clusters" if pinned else "databases"
        said = f"pins {count} {kind} by the identity that they have, {milliseconds(begun)}"
        return Proof(self.name, None, str(path), None, None, said)

    def environment(self, lab: Lab) -> dict[str, str]:
        return {"EVIDENCE": str(lab.folder("evidence"))}

    def stop(self, lab: Lab) -> None:
        (lab.root / "site.toml").unlink(missing_ok=True)

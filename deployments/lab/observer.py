"""The resident processes of `dr`, outside the regions: the observer, and the one that runs Prefect's deployments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

from deployments.lab import prefect_server
from deployments.lab.component import LabError, Proof
from deployments.lab.lab import PROJECT
from deployments.lab.proof import of_process

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.lab.lab import Lab

FRESH = timedelta(seconds=5)  # it asks every second


@dataclass(frozen=True)
class Observer:
    name: str = "observer"

    def start(self, lab: Lab) -> None:
        lab.folder("observer")
        lab.spawn(self.name, dr(lab, "observe"), env=environment(lab), cwd=PROJECT)
        lab.wait_for(self.name, lambda: newest(samples(lab)), seconds=30)

    def prove(self, lab: Lab) -> Proof:
        begun = monotonic()
        age = datetime.now(UTC) - newest(samples(lab))
        if age > FRESH:
            raise LabError(f"the last sample is {age.total_seconds():.0f} s old", f"see {lab.log(self.name)}")
        said = f"last sample {age.total_seconds() * 1000:.0f} ms old"
        return of_process(lab, self.name, address=str(samples(lab)), said=said, begun=begun)

    def environment(self, lab: Lab) -> dict[str, str]:
        return {"MARKER_LOG": str(lab.path("observer", "markers.jsonl")), "SAMPLE_LOG": str(samples(lab))}

    def stop(self, lab: Lab) -> None:
        lab.kill(self.name)


@dataclass(frozen=True)
class Serve:
    """`dr serve`: runs what is started in Prefect's UI."""

    name: str = "serve"

    def start(self, lab: Lab) -> None:
        lab.spawn(self.name, dr(lab, "serve"), env=environment(lab), cwd=PROJECT)

    def prove(self, lab: Lab) -> Proof:
        """It polls Prefect; nothing but its life can be seen from here."""
        return of_process(lab, self.name, address=prefect_server.api(lab), said="it runs", begun=monotonic())

    def environment(self, lab: Lab) -> dict[str, str]:
        return {}

    def stop(self, lab: Lab) -> None:
        lab.kill(self.name)


def dr(lab: Lab, command: str) -> list[str]:
    return [str(lab.python), "-m", "deployments.cli", command, "--site", "lab"]


def environment(lab: Lab) -> dict[str, str]:
    """What our own commands need beside the site file: which lab it is, and where Prefect is."""
    return {
        "DR_LAB_ROOT": str(lab.root),
        "DR_LAB_NUMBER": str(lab.number),
        **({"PREFECT_API_URL": prefect_server.api(lab)} if lab.has_prefect else {}),
        "PREFECT_HOME": str(lab.folder("shared", "prefect-client")),
    }


def samples(lab: Lab) -> Path:
    return lab.path("observer", "samples.jsonl")


def newest(file: Path) -> datetime:
    """When the last whole line of *file* was sampled. Raises: LabError."""
    try:
        with file.open("rb") as lines:
            lines.seek(max(0, file.stat().st_size - 4096))
            whole = lines.read().rpartition(b"\n")[0]
        return datetime.fromisoformat(json.loads(whole.splitlines()[-1])["at"])
    except (FileNotFoundError, IndexError, ValueError, KeyError) as error:
        raise LabError(f"no sample in {file} yet", "is the observer running?") from error

"""`.lab/bin`: every program of the lab by its own name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from deployments.lab import build
from deployments.lab.component import Proof
from deployments.lab.lab import MARK, Lab, program

COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
)


@dataclass(frozen=True)
class Binaries:
    """What was compiled, and weed."""

    tell: build.Tell
    name: str = "binaries"

    def start(self, lab: Lab) -> None:
        for name, path in build.programs(self.tell, {MARK: lab.mark}).items():
            _link(lab.folder("bin") / name, path)
        _link(lab.bin / "weed", Path(program("weed")))
        for component in COMPONENTS:
            _wrap(lab.bin / component, lab.bin / "k8s", component)

    def prove(self, lab: Lab) -> Proof:
        started = monotonic()
        versions = f"kubectl {_version(lab, 'kubectl', 'version', '--client')}"
        versions += f", velero {_version(lab, 'velero', 'version', '--client-only')}"
        said = f"{versions}, {1000 * (monotonic() - started):.0f} ms"
        return Proof(self.name, None, str(lab.bin), None, None, said)

    def environment(self, lab: Lab) -> dict[str, str]:
        return {"KUBECTL": str(lab.bin / "kubectl"), "VELERO": str(lab.bin / "velero")}

    def stop(self, lab: Lab) -> None:
        """Nothing runs; the cache belongs to the user."""


def _version(lab: Lab, *argv: str) -> str:
    said = lab.run([str(lab.bin / argv[0]), *argv[1:]]).split()
    return next(word for word in said if word.startswith("v1."))


def _link(link: Path, target: Path) -> None:
    draft = link.with_name(f".{link.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)


def _wrap(path: Path, binary: Path, component: str) -> None:
    """The one Kubernetes binary takes the component's name as its first argument."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(f'#!/bin/sh\nexec "{binary}" {component} "$@"\n')
    draft.chmod(0o755)
    draft.replace(path)

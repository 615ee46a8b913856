"""A region: one process tree in its own pid, mount, network, host name and IPC namespaces. Killing its first process
is the loss of the region."""

from __future__ import annotations

from dataclasses import dataclass
from socket import create_connection
from time import monotonic
from typing import TYPE_CHECKING

from deployments.lab import cgroups, files, namespaces, network, process
from deployments.lab.component import LabError, Proof

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region


@dataclass(frozen=True)
class Namespaces:
    """The region itself, with nothing in it yet."""

    region: Region

    @property
    def name(self) -> str:
        return f"region-{self.region.name}"

    def start(self, lab: Lab) -> None:
        if lab.running(self.name) is None:
            self.stop(lab)
        namespaces.first_process(
            lab, self.name, _spec(lab, self.region), inside=None, flags=["--net", "--uts", "--ipc"]
        )
        network.join_host(lab, self.region)
        network.join_regions(lab)

    def prove(self, lab: Lab) -> Proof:
        """Answers the host, and reaches neither the world nor cloud metadata."""
        started = monotonic()
        first = lab.running(self.name)
        if first is None:
            raise LabError(f"{self.name}: its first process is dead", "dr lab up starts it again")
        _answers(self.region.address)
        for away in ("169.254.169.254", "192.0.2.1"):
            self._must_not_reach(lab, away)
        milliseconds = 1000 * (monotonic() - started)
        said = f"answered the host; reached neither 169.254.169.254 nor 192.0.2.1, {milliseconds:.0f} ms"
        memory = process.memory_bytes(process.descendants(first.pid))
        return Proof(self.name, self.region.name, self.region.address, first.pid, memory, said)

    def environment(self, lab: Lab) -> dict[str, str]:
        first = lab.running(self.name)
        return {f"REGION_PID_{self.region.name.upper()}": str(first.pid)} if first else {}

    def stop(self, lab: Lab) -> None:
        namespaces.end(lab, self.name)
        network.unjoin(lab, self.region)
        cgroups.remove(self.region.cgroup)

    def _must_not_reach(self, lab: Lab, address: str) -> None:
        probe = "import socket,sys; socket.create_connection((sys.argv[1], 80), 0.2)"
        try:
            lab.run([str(lab.python), "-I", "-S", "-c", probe, address], region=self.region.name)
        except LabError:
            return
        raise LabError(f"{self.name} reaches {address}", "a region must have no way out: dr lab down, then up")


def _answers(address: str) -> None:
    """Nobody listens on port 1: the refusal comes from the region's own network stack."""
    try:
        create_connection((address, 1), timeout=2).close()
    except ConnectionRefusedError:
        return
    except OSError as error:
        raise LabError(f"{address} does not answer: {error}", "dr lab up mends its network") from error


def _spec(lab: Lab, region: Region) -> dict[str, object]:
    """Private /tmp: SeaweedFS talks over sockets in it, and a's S3 must not meet b's. Private /run, /var/lib and
    /var/log: nothing of the region is left on the host."""
    return {
        "hide": ["/tmp", "/run", "/var/lib", "/var/log"],
        "keep": namespaces.needed(lab),
        "bind": {str(_hosts(lab)): "/etc/hosts", str(_resolver(lab, region)): "/etc/resolv.conf"},
        "hostname": region.node,
    }


def _hosts(lab: Lab) -> Path:
    path = lab.path("shared", "hosts")
    lines = [f"{region.address} {region.s3_host} {region.node}" for region in lab.regions.values()]
    return files.write(path, "\n".join(["127.0.0.1 localhost", *lines]) + "\n")


def _resolver(lab: Lab, region: Region) -> Path:
    """The lab's DNS server on the host is the only one that the region, and its pods, can ask."""
    path = lab.path(region.name, "resolv.conf")
    return files.write(path, f"nameserver {region.host_address}\noptions timeout:1 attempts:2\n")

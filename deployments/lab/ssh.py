"""sshd in a region: how operators, and the recoveries, reach the database host."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from deployments.lab.component import Proof
from deployments.lab.lab import program
from deployments.lab.proof import of_process

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

USER = "postgres"
DEFAULT_PORT = 22  # known_hosts names no port then
_KEYS = Lock()


@dataclass(frozen=True)
class Sshd:
    region: Region

    @property
    def name(self) -> str:
        return f"sshd-{self.region.name}"

    def start(self, lab: Lab) -> None:
        """With `--only database` it runs as postgres, who then is the only one that can log in."""
        _make_keys(lab)
        settings = lab.path(self.region.name, "ssh", "sshd_config")
        settings.write_text(_settings(lab, self.region))
        user = None if self.region.isolated else USER
        if user:
            lab.run(["chown", user, str(host_key(lab, self.region))])
        else:
            lab.run(["mkdir", "-p", "/run/sshd"], region=self.region.name)  # asked for when it runs as root
        argv = [program("sshd"), "-D", "-e", "-f", str(settings)]
        lab.spawn(self.name, argv, region=self.region.name, user=user)
        lab.wait_for(self.name, lambda: identity(lab, self.region), seconds=10)

    def prove(self, lab: Lab) -> Proof:
        begun = monotonic()
        who = identity(lab, self.region)
        return of_process(
            lab, self.name, region=self.region.name, address=where(self.region), said=f"id said {who}", begun=begun
        )

    def environment(self, lab: Lab) -> dict[str, str]:
        return {f"SSH_{self.region.name.upper()}": f"{USER}@{where(self.region)}", "SSH_KEY": str(key(lab))}

    def stop(self, lab: Lab) -> None:
        lab.kill(self.name)


def where(region: Region) -> str:
    return f"{region.address}:{region.ports.ssh}"


def key(lab: Lab) -> Path:
    return lab.path("shared", "ssh", "client")


def host_key(lab: Lab, region: Region) -> Path:
    return lab.path("shared", "ssh", f"host_{region.name}")


def known_hosts(lab: Lab) -> Path:
    return lab.path("shared", "ssh", "known_hosts")


def identity(lab: Lab, region: Region) -> str:
    """What `id` says of us over there. Raises: LabError."""
    options = [
        f"UserKnownHostsFile={known_hosts(lab)}",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "BatchMode=yes",
        "ConnectTimeout=3",
    ]
    argv = ["ssh", "-F", "none", "-i", str(key(lab)), "-p", str(region.ports.ssh)]
    argv += [part for option in options for part in ("-o", option)]
    return lab.run([*argv, f"{USER}@{region.address}", "id"], seconds=5).strip()


def _make_keys(lab: Lab) -> None:
    """One key for us, one for each host, and the file that vouches for the hosts. Regions start at the same time."""
    with _KEYS:
        for path in (key(lab), *(host_key(lab, region) for region in lab.regions.values())):
            if not path.with_suffix(".pub").exists():  # written after the private half
                path.unlink(missing_ok=True)
                lab.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)])
        known_hosts(lab).write_text("".join(_known(lab, region) for region in lab.regions.values()))


def public_key(lab: Lab, region: Region) -> str:
    """What the region's host proves itself by, as the site file pins it."""
    return " ".join(host_key(lab, region).with_suffix(".pub").read_text().split()[:2])


def _known(lab: Lab, region: Region) -> str:
    name = region.address if region.ports.ssh == DEFAULT_PORT else f"[{region.address}]:{region.ports.ssh}"
    return f"{name} {public_key(lab, region)}\n"


def _settings(lab: Lab, region: Region) -> str:
    lines = [
        f"Port {region.ports.ssh}",
        f"ListenAddress {region.address}",
        f"HostKey {host_key(lab, region)}",
        "PidFile none",
        f"AuthorizedKeysFile {key(lab)}.pub",
        "StrictModes no",  # the key lies in the lab's folder, not in a home
        "UsePAM yes",  # without, an account that has no password counts as locked
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        f"AllowUsers {USER}",
        "ClientAliveInterval 5",
        "ClientAliveCountMax 2",
        "Subsystem sftp internal-sftp",
    ]
    return "\n".join(lines) + "\n"

"""SeaweedFS: how one server is started, and what its shell is told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployments.lab import files, namespaces
from deployments.lab.lab import Lab, program

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.lab.process import Process

MEMORY = {"GOMEMLIMIT": "400MiB", "GOGC": "50"}
ELECTION = ("-master.electionTimeout=1s", "-master.heartbeatInterval=100ms")
"""The only master elects itself after this; with the default a restart on old data takes 12 s instead of 3."""


@dataclass(frozen=True)
class Server:
    """One SeaweedFS process: master, volumes, filer and S3. *first_port* of ten that it uses inside."""

    name: str
    region: str | None
    address: str
    first_port: int
    s3_port: int
    s3_tls_port: int | None
    data: Path

    @property
    def master(self) -> str:
        return f"{self.address}:{self.first_port}.{self.first_port + 1}"

    @property
    def filer(self) -> str:
        return f"{self.address}:{self.first_port + 4}.{self.first_port + 5}"


def launch(lab: Lab, server: Server, identities: Path, *, certificate: Path | None) -> Process:
    """Its process; it takes seconds more until a PUT is accepted."""
    server.data.mkdir(parents=True, exist_ok=True)
    ports = [
        f"-{part}={server.first_port + offset}"
        for offset, part in enumerate(
            (
                "master.port",
                "master.port.grpc",
                "volume.port",
                "volume.port.grpc",
                "filer.port",
                "filer.port.grpc",
                "s3.port.grpc",
            )
        )
    ]
    argv = [program("weed"), "-logtostderr=true", "-v=0", "server", f"-dir={server.data}", f"-ip={server.address}"]
    argv += [
        f"-ip.bind={'0.0.0.0' if _is_isolated(lab, server) else server.address}",
        "-master.telemetry=false",
        *ELECTION,
    ]
    argv += ["-master.volumeSizeLimitMB=256", "-volume.max=200", "-filer", "-s3", f"-s3.port={server.s3_port}", *ports]
    argv += [f"-s3.config={identities}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    if server.s3_tls_port is not None and certificate is not None:
        key = certificate.with_suffix(".key")
        argv += [f"-s3.port.https={server.s3_tls_port}", f"-s3.cert.file={certificate}", f"-s3.key.file={key}"]
    return lab.spawn(server.name, own_tmp(lab, server, argv), region=server.region, env=MEMORY, cwd=server.data)


def shell(lab: Lab, server: Server, lines: list[str]) -> str:
    """What `weed shell` says to *lines*."""
    text = "\n".join([*lines, "exit"]) + "\n"
    argv = [program("weed"), "shell", f"-master={server.master}", f"-filer={server.filer}"]
    return lab.run(own_tmp(lab, server, argv), region=server.region, input=text)


def identity_file(lab: Lab, access_key: str, secret_key: str) -> Path:
    """The administrator comes from a file, so that S3 never answers without credentials. All others are added while it
    runs (`s3.configure`): what comes from a file cannot be revoked."""
    path = lab.path("secrets", "s3-admin.json")
    admin = {
        "name": "admin",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return files.write(path, json.dumps({"identities": [admin]}), mode=0o600)


def own_tmp(lab: Lab, server: Server, argv: list[str]) -> list[str]:
    """*argv* as it is to be run: its sockets in /tmp have fixed names, so on the host each server gets its own /tmp."""
    return argv if _is_isolated(lab, server) else namespaces.with_own_tmp(lab, argv)


def _is_isolated(lab: Lab, server: Server) -> bool:
    return server.region is not None and lab.regions[server.region].isolated

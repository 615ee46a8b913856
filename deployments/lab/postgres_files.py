"""Where a region's PostgreSQL keeps its files, and what stands in its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.lab import object_store, tls
from deployments.lab.component import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

STANZA = "lab"
SLOT = "standby"
USER = "postgres"
PROGRAMS = Path("/usr/lib/postgresql/15/bin")
LONGEST_SOCKET = 107  # characters, said by the kernel


@dataclass(frozen=True)
class Files:
    """Everything below `.lab/REGION/pg`, owned by postgres."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def socket(self) -> Path:
        return self.root / "run"

    @property
    def log(self) -> Path:
        return self.root / "log" / "postgresql.log"

    @property
    def pgbackrest(self) -> Path:
        return self.root / "pgbackrest.conf"

    @property
    def passwords(self) -> Path:
        return self.root / "pgpass"

    @property
    def is_complete(self) -> bool:
        """initdb's folder gets its name when it is done, pgBackRest restores pg_control last."""
        return (self.data / "global" / "pg_control").exists()

    def folders(self) -> list[Path]:
        return [self.root / name for name in ("run", "log", "lock", "spool", "tmp")]


def files(lab: Lab, region: Region) -> Files:
    """Raises: LabError when the path is too long for a socket in it."""
    root = lab.folder(region.name, "pg")
    socket = len(str(root / "run" / ".s.PGSQL.24000"))
    if socket > LONGEST_SOCKET:
        raise LabError(
            f"{root} is too long for a socket: {socket} > {LONGEST_SOCKET}", "set DR_LAB_ROOT to a shorter one"
        )
    return Files(root)


def server_settings(region: Region, kept: Files) -> str:
    """lab.conf beside the data folder: a restored copy in the other region takes that region's."""
    archive = f'pgbackrest --config={kept.pgbackrest} --stanza={STANZA} --pg1-path="$PWD" archive-push %p'
    own = ("127.0.0.1", region.database_address) if region.isolated else (region.database_address,)
    addresses = ",".join(own)
    settings = {
        "port": region.ports.postgres,
        "listen_addresses": f"'{addresses}'",
        "unix_socket_directories": f"'{kept.socket}'",
        "cluster_name": f"'region-{region.name}'",
        "timezone": "'UTC'",
        "archive_mode": "on",
        "archive_command": f"'{archive}'",
        "archive_timeout": 60,
        "wal_log_hints": "on",  # pg_rewind
        "track_commit_timestamp": "on",
        "hot_standby_feedback": "on",
        "max_standby_archive_delay": "2s",
        "max_standby_streaming_delay": "2s",
        "wal_keep_size": "128MB",
        "wal_retrieve_retry_interval": "1s",  # a standby whose primary was restarted asks again so soon
        "max_slot_wal_keep_size": "2GB",
        "shared_buffers": "64MB",
    }
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


def access() -> str:
    """pg_hba.conf. The socket lies in a folder that only postgres and root can enter."""
    return "".join(
        f"{line}\n"
        for line in (
            "local all all trust",
            "host all all 127.0.0.0/8 scram-sha-256",
            "host all all 10.0.0.0/8 scram-sha-256",
            "local replication all trust",
            "host replication all 127.0.0.0/8 scram-sha-256",
            "host replication all 10.0.0.0/8 scram-sha-256",
        )
    )


def following(region: Region, kept: Files) -> str:
    """How a standby here presents itself to its primary."""
    return f"user=standby passfile={kept.passwords} application_name=region_{region.name}"


def pgbackrest_settings(lab: Lab, region: Region, kept: Files) -> str:
    identity = object_store.identity(lab, f"pgbackrest-{region.name}")
    settings = {
        "repo1-type": "s3",
        "repo1-path": "/pgbackrest",
        "repo1-s3-bucket": "pgbackrest",
        "repo1-s3-endpoint": region.s3_host,
        "repo1-storage-port": region.ports.s3_tls,
        "repo1-s3-uri-style": "path",
        "repo1-s3-region": "us-east-1",
        "repo1-s3-key": identity.access_key,
        "repo1-s3-key-secret": identity.secret_key,
        "repo1-storage-ca-file": tls.s3_authority(lab),
        "repo1-retention-full": 2,
        "repo1-bundle": "y",  # a thousand small files in one object: 7.1 s become 4.3
        "lock-path": kept.root / "lock",
        "log-path": kept.root / "log",
        "spool-path": kept.root / "spool",
        "process-max": 2,
        "compress-type": "lz4",
        "start-fast": "y",
        "archive-timeout": 60,
        "log-level-console": "warn",
        "log-level-file": "info",
    }
    stanza = {
        "pg1-path": kept.data,
        "pg1-port": region.ports.postgres,
        "pg1-socket-path": kept.socket,
        "pg1-user": USER,
    }
    return _section("global", settings) + _section(STANZA, stanza)


def _section(name: str, settings: Mapping[str, object]) -> str:
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in settings.items())

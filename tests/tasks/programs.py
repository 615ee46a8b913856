"""Real programs for the tests: PostgreSQL and SeaweedFS, each in a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pg8000.native
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from runbooks.site import Bucket, Database, Secret
from tests.programs import free_port, running, tail

POSTGRES = Path("/usr/lib/postgresql/15/bin")
WEED = Path(sys.executable).with_name("weed")


@dataclass(frozen=True)
class Postgres:
    data: Path
    database: Database

    def run(self, statement: str) -> list[list[object]]:
        with self.connection() as connection:
            return list(connection.run(statement) or [])

    def connection(self) -> pg8000.native.Connection:
        given = self.database
        return pg8000.native.Connection(given.user, host=given.host, port=given.port, database=given.database)

    def signal(self, number: int) -> None:
        """To the postmaster: stopped, it takes connections and answers nobody."""
        os.kill(int((self.data / "postmaster.pid").read_text().splitlines()[0]), number)


@contextmanager
def postgres(folder: Path, password: Path) -> Iterator[Postgres]:
    if not POSTGRES.exists():
        pytest.fail(f"{POSTGRES} is missing: apt-get install postgresql-15")
    data = folder / "pg"
    data.mkdir()
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(data, "postgres", "postgres")
    port = free_port()
    run = [*as_user, "env", "LC_ALL=C.UTF-8", "TZ=UTC"]
    subprocess.run(
        [*run, str(POSTGRES / "initdb"), "-U", "dr", "-A", "trust", "-N", "-D", str(data)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    settings = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    control = [*run, str(POSTGRES / "pg_ctl"), "-D", str(data)]
    start = [*control, "-w", "-l", str(data / "log"), "-o", settings, "start"]
    if subprocess.run(start, check=False, stdout=subprocess.DEVNULL).returncode:
        pytest.fail(f"PostgreSQL did not start; its log ends:\n{tail(data / 'log')}")
    try:
        yield Postgres(
            data,
            Database(
                name="orders", host="127.0.0.1", port=port, database="postgres", user="dr",
                password=Secret(where=f"file:{password}"),
            ),
        )  # fmt: skip
    finally:
        subprocess.run([*control, "-t", "180", "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL)


@dataclass(frozen=True)
class Weed:
    bucket: Bucket
    reader: Bucket
    process: subprocess.Popen[bytes]

    def hang(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def weed(folder: Path) -> Iterator[Weed]:
    """A real S3 server with one bucket, one identity that may do all, and one that may read."""
    keys = {"admin": ("adminkey", "adminsecret"), "reader": ("readerkey", "readersecret")}
    actions = {"admin": ["Admin", "Read", "Write", "List"], "reader": ["Read:evidence", "List:evidence"]}
    identities = [
        {"name": name, "credentials": [{"accessKey": a, "secretKey": s}], "actions": actions[name]}
        for name, (a, s) in keys.items()
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    for name, (access, secret) in keys.items():
        (folder / f"{name}.access").write_text(access + "\n")
        (folder / f"{name}.secret").write_text(secret + "\n")
    names = (
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "s3.port",
        "s3.port.grpc",
    )
    numbers = [free_port() for _ in names]
    flags = [f"-{name}={number}" for name, number in zip(names, numbers, strict=True)]
    command = [
        str(WEED), "-logtostderr=true", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-master.telemetry=false", "-master.electionTimeout=1s", "-master.heartbeatInterval=100ms",
        "-volume.max=10", "-filer", "-s3", f"-s3.config={folder}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0",
        *flags,
    ]  # fmt: skip
    endpoint = f"http://127.0.0.1:{numbers[names.index('s3.port')]}"
    with running(
        command, log=folder / "weed.log", is_ready=lambda: _has_bucket(endpoint, *keys["admin"]), seconds=100,
        cwd=folder, env={**os.environ, "GOMEMLIMIT": "200MiB"},
    ) as process:  # fmt: skip
        yield Weed(_bucket(endpoint, folder, "admin"), _bucket(endpoint, folder, "reader"), process)


def _bucket(endpoint: str, folder: Path, name: str) -> Bucket:
    return Bucket(
        url="s3://evidence/tests",
        endpoint=endpoint,
        access_key=Secret(where=f"file:{folder}/{name}.access"),
        secret_key=Secret(where=f"file:{folder}/{name}.secret"),
    )


def _has_bucket(endpoint: str, access: str, secret: str) -> bool:
    """Proven by a PUT: an open port is not ready."""
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=access, aws_secret_access_key=secret, region_name="us-east-1",
        config=Config(connect_timeout=1, read_timeout=10, retries={"total_max_attempts": 1}),
    )  # fmt: skip
    try:
        client.create_bucket(Bucket="evidence")
        client.put_object(Bucket="evidence", Key="ready", Body=b"yes")
    except (BotoCoreError, ClientError):
        return False
    return True

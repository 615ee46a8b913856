"""An administrator's hands on the lab's repositories: single objects, spoilt and put back."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
from botocore.config import Config

from tests.database.the_database import TheDatabase

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Bucket:
    """One of region a's buckets, by the lab's admin."""

    def __init__(self, lab: TheDatabase, name: str) -> None:
        env, self._name = lab.env, name
        self._client = boto3.client(
            "s3", endpoint_url=env["S3_ENDPOINT_A"], verify=env["AWS_CA_BUNDLE"], region_name="us-east-1",
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip

    def keys(self, part: str) -> list[str]:
        """Those that hold *part*, sorted by size: the largest last."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name)
        found = [(one["Size"], one["Key"]) for page in pages for one in page.get("Contents", []) if part in one["Key"]]
        return [key for _, key in sorted(found)]

    def get(self, key: str) -> bytes:
        return bytes(self._client.get_object(Bucket=self._name, Key=key)["Body"].read())

    def put(self, key: str, body: bytes) -> None:
        """It is there for whoever asks next: a busy server answers with the version before for a moment."""
        self._client.put_object(Bucket=self._name, Key=key, Body=body)
        until = time.monotonic() + 20
        while self.get(key) != body:
            assert time.monotonic() < until, f"{key} stays as it was"
            time.sleep(0.1)

    @contextmanager
    def flipped(self, key: str) -> Iterator[None]:
        """One bit of a byte in the middle."""
        before = self.get(key)
        after = bytearray(before)
        after[len(after) // 2] ^= 1
        self.put(key, bytes(after))
        try:
            yield
        finally:
            self.put(key, before)

    @contextmanager
    def all_flipped(self, part: str) -> Iterator[None]:
        """Every file that holds *part* in its name: a file and its copy."""
        with ExitStack() as each:
            for key in self.keys(part):
                each.enter_context(self.flipped(key))
            yield

    @contextmanager
    def gone(self, key: str) -> Iterator[None]:
        before = self.get(key)
        self._client.delete_object(Bucket=self._name, Key=key)
        try:
            yield
        finally:
            self.put(key, before)


@contextmanager
def slowing_down(lab: TheDatabase) -> Iterator[int]:
    """The port of an S3 that answers 503 to everything, behind the lab's own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls = lab.root / "shared" / "tls"
    context.load_cert_chain(tls / "s3.crt", tls / "s3.key")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_serve, args=(listening, context), daemon=True).start()
        yield int(listening.getsockname()[1])


def _serve(listening: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(client, context), daemon=True).start()


def _answer(client: socket.socket, context: ssl.SSLContext) -> None:
    head = f"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: {len(SLOW_DOWN)}\r\n\r\n"
    try:
        with context.wrap_socket(client, server_side=True) as connection:
            while connection.recv(1 << 16):
                connection.sendall(head.encode() + SLOW_DOWN)
    except OSError:
        return


@contextmanager
def configured(lab: TheDatabase, name: str, *changes: tuple[str, str]) -> Iterator[Path]:
    """Another pgbackrest.conf beside the lab's; each change replaces the value of a key."""
    before, path = lab.folder() / "pgbackrest.conf", lab.folder() / f"{name}.conf"
    lines = before.read_text().splitlines()
    for key, value in changes:
        lines = [f"{key}={value}" if line.startswith(f"{key}=") else line for line in lines]
    lab.on_host('umask 077; cat "$1" >"$2"', str(before), str(path))
    path.write_text("\n".join(lines) + "\n")
    try:
        yield path
    finally:
        path.unlink()

"""DownloadRequests, and the server behind their presigned addresses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tests.fakes import velero_disk
from tests.fakes.core import Core
from tests.fakes.http_server import Answer, Handler, Server
from tests.fakes.kinds import BACKUPS, DOWNLOADS, RESTORES
from tests.fakes.recording import Exchange
from tests.fakes.store import Object
from tests.fakes.velero import NAMESPACE, later, server, set_status

_NO_KEY = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code></Error>'
_DENIED = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SignatureDoesNotMatch</Code></Error>'


def controller(address: str) -> Callable[[Core], None]:
    def reconcile(core: Core) -> None:
        if server(core) is None:
            return
        for one in core.store.list(DOWNLOADS, NAMESPACE):
            if "expiration" in one.get("status", {}) or not core.timers.elapsed(
                ("download", one["metadata"]["uid"]), core.settings.download_seconds
            ):
                continue
            found: dict[str, str] = {}
            if key := _key(core, one):
                url = f"{address}/velero/{key}?X-Amz-Expires=600&X-Amz-Signature={signature(key)}"
                found = {"phase": "Processed", "downloadURL": url}
            set_status(core, DOWNLOADS, one, expiration=later("10m0s"), **found)

    return reconcile


def _key(core: Core, one: Object) -> str | None:
    """None if the backup (of the restore) or its location is not there: Velero then does not look again for long."""
    kind, name = one["spec"]["target"]["kind"], one["spec"]["target"]["name"]
    restore = None if kind.startswith("Backup") else core.store.find(RESTORES, NAMESPACE, name)
    if restore is None and not kind.startswith("Backup"):
        return None
    backup = core.store.find(BACKUPS, NAMESPACE, restore["spec"].get("backupName", "") if restore else name)
    return velero_disk.key_of(kind, name) if backup and backup["spec"].get("storageLocation") else None


def signature(key: str) -> str:
    return hashlib.sha256(f"not a secret {key}".encode()).hexdigest()


class DownloadServer(Server):
    core: Core


class DownloadHandler(Handler):
    server: DownloadServer

    def work(self, one: Exchange, body: bytes) -> Answer:
        key = one.path.removeprefix("/velero/")
        if f"X-Amz-Signature={signature(key)}" not in one.query:
            return Answer(403, _DENIED, "application/xml")
        path = velero_disk.bucket(self.server.core) / key
        if not path.is_file():
            return Answer(404, _NO_KEY, "application/xml")
        return Answer(200, path.read_bytes(), "application/octet-stream")

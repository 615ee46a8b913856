"""The bucket of the fake Velero: a directory with Velero's own layout of names."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from tests.fakes.core import Core
from tests.fakes.kinds import BY_FULL_NAME, Resource
from tests.fakes.store import Object

_NAMES = {
    "BackupContents": "backups/{0}/{0}.tar.gz",
    "BackupLog": "backups/{0}/{0}-logs.gz",
    "BackupResults": "backups/{0}/{0}-results.gz",
    "BackupResourceList": "backups/{0}/{0}-resource-list.json.gz",
    "RestoreLog": "restores/{0}/restore-{0}-logs.gz",
    "RestoreResults": "restores/{0}/restore-{0}-results.gz",
    "RestoreResourceList": "restores/{0}/restore-{0}-resource-list.json.gz",
}
Items = dict[tuple[str, str, str], Object]  # (resource, namespace, name)


def bucket(core: Core) -> Path:
    return core.directory / "bucket"


def key_of(kind: str, name: str) -> str | None:
    return _NAMES[kind].format(name) if kind in _NAMES else None


def write(core: Core, kind: str, name: str, content: bytes) -> None:
    path = bucket(core) / _NAMES[kind].format(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_json(core: Core, kind: str, name: str, content: Any) -> None:
    write(core, kind, name, gzip.compress(json.dumps(content).encode(), 1))


def write_log(core: Core, kind: str, name: str, lines: list[str]) -> None:
    write(core, kind, name, gzip.compress("".join(line + "\n" for line in lines).encode(), 1))


def snapshot(core: Core, number: str) -> Path:
    return bucket(core) / "kopia" / number


def forget_backup(core: Core, name: str) -> None:
    shutil.rmtree(bucket(core) / "backups" / name, ignore_errors=True)


def write_contents(core: Core, backup: str, items: Items) -> None:
    """BackupContents: each object twice, once by resource and once below its preferred version."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        _add(tar, "metadata/version", b"1.1.0")
        for (resource, namespace, name), obj in sorted(items.items()):
            scope = f"namespaces/{namespace}" if namespace else "cluster"
            content = json.dumps(obj).encode()
            _add(tar, f"resources/{resource}/{scope}/{name}.json", content)
            version = BY_FULL_NAME[resource].version
            _add(tar, f"resources/{resource}/{version}-preferredversion/{scope}/{name}.json", content)
    write(core, "BackupContents", backup, packed.getvalue())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def read_contents(core: Core, backup: str) -> Items:
    items: Items = {}
    with tarfile.open(bucket(core) / _NAMES["BackupContents"].format(backup)) as tar:
        for entry in tar.getmembers():
            parts = entry.name.removesuffix(".json").split("/")
            if parts[0] != "resources" or parts[2] not in ("cluster", "namespaces"):
                continue
            content = tar.extractfile(entry)
            assert content is not None
            namespace = parts[3] if parts[2] == "namespaces" else ""
            items[(parts[1], namespace, parts[-1])] = json.loads(content.read())
    return items


def listed(items: list[tuple[Resource, str, str, str]]) -> dict[str, list[str]]:
    """A resource list as Velero writes it: {"apps/v1/Deployment": ["production/orders(created)"]}."""
    found: dict[str, list[str]] = {}
    for resource, namespace, name, how in items:
        said = f"{namespace}/{name}" if namespace else name
        found.setdefault(f"{resource.api_version}/{resource.kind}", []).append(said + (f"({how})" if how else ""))
    return found

"""Container images made from files: there is no registry and no Docker."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import monotonic
from typing import TYPE_CHECKING

from deployments.lab import build
from deployments.lab.build import VELERO_VERSION
from deployments.lab.component import Proof

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deployments.lab.lab import Lab

REGISTRY = "lab.local"
PAUSE = f"{REGISTRY}/pause:3"
BUSYBOX = f"{REGISTRY}/busybox:1"
LOCAL_PATH = f"{REGISTRY}/local-path-provisioner:v0.0.30"
VELERO = f"{REGISTRY}/velero:{VELERO_VERSION}"
VELERO_AWS = f"{REGISTRY}/velero-plugin-for-aws:v1.14.3"
BUSYBOX_PROGRAM = Path("/bin/busybox")


@dataclass(frozen=True)
class Image:
    """What an image holds. A file's mode is its source's (0644 for bytes), its owner root, its time 1970."""

    name: str
    """With its tag: `lab.local/orders:1`."""
    files: Mapping[str, Path | bytes]
    links: Mapping[str, str] = field(default_factory=dict)
    """Path → what it points to."""
    directories: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()


def core(programs: Mapping[str, Path]) -> list[Image]:
    """The images that every cluster needs, from the programs that were built."""
    return [
        Image(PAUSE, {"/pause": programs["pause"]}, command=("/pause",)),
        busybox(),
        Image(
            LOCAL_PATH,
            {"/usr/bin/local-path-provisioner": programs["local-path-provisioner"]},
            directories=("/tmp",),
            command=("local-path-provisioner",),
        ),
        Image(
            VELERO,
            {f"/{name}": programs[name] for name in ("velero", "velero-helper", "velero-restore-helper")},
            links={"/usr/bin/velero": "/velero"},
            directories=("/tmp", "/plugins", "/credentials", "/scratch", "/home"),
            env={"HOME": "/home"},
            command=("/velero",),
        ),
        # The server copies the plugin out of this image with `cp`, as an init container.
        Image(
            VELERO_AWS,
            {"/plugins/velero-plugin-for-aws": programs["velero-plugin-for-aws"], **busybox().files},
            links=busybox().links,
            directories=("/target",),
            command=("/bin/sh", "-c", "cp /plugins/* /target/"),
        ),
    ]


@dataclass(frozen=True)
class Images:
    """Every image packed, so that clusters have only to import them."""

    packed: Callable[[], list[Image]]
    name: str = "images"

    def start(self, lab: Lab) -> None:
        for image in self.packed():
            archive(image)

    def prove(self, lab: Lab) -> Proof:
        begun = monotonic()
        names = [image.name for image in self.packed() if tarfile.is_tarfile(archive(image))]
        said = f"{len(names)} archives to import, {1000 * (monotonic() - begun):.0f} ms"
        return Proof(self.name, None, str(build.cache() / "images"), None, None, said)

    def environment(self, lab: Lab) -> dict[str, str]:
        return {}

    def stop(self, lab: Lab) -> None:
        """Nothing runs; the cache belongs to the user."""


def busybox() -> Image:
    """A shell and its tools; pods of tests use it too."""
    listed = subprocess.run([BUSYBOX_PROGRAM, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = {f"/bin/{applet}": "/bin/busybox" for applet in listed if applet != "busybox"}
    return Image(BUSYBOX, {"/bin/busybox": BUSYBOX_PROGRAM}, links, ("/tmp",), command=("/bin/sh",))


def archive(image: Image) -> Path:
    """The image as a docker-archive, from the cache if the same content was packed before."""
    path = build.cache() / "images" / f"{key(image)}.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix="packing-", delete=False) as draft:
            write(image, draft)
        Path(draft.name).replace(path)
    return path


def key(image: Image) -> str:
    """What is in the image, as a name for it."""
    digest = hashlib.sha256(
        repr(
            (image.name, sorted(image.links.items()), image.directories, sorted(image.env.items()), image.command)
        ).encode()
    )
    for target, source in sorted(image.files.items()):
        digest.update(f"\0{target}\0{_mode(source):o}\0".encode())
        digest.update(_identity(source))
    return digest.hexdigest()[:24]


def _identity(source: Path | bytes) -> bytes:
    """Content; but for what our own build has cached by content, its path says as much and costs no read of 140 MB."""
    if isinstance(source, bytes):
        return source
    if source.is_relative_to(build.cache()):
        return str(source.relative_to(build.cache())).encode()
    return source.read_bytes()


def write(image: Image, output: io.IOBase | object) -> None:
    """Pack *image* in the layout of `docker save`, which containerd imports. Same input, same bytes."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in _folders(image):
            _add(tar, folder, kind=tarfile.DIRTYPE, mode=0o1777 if folder == "tmp" else 0o755)
        for target, source in sorted(image.files.items()):
            content = source if isinstance(source, bytes) else source.read_bytes()
            _add(tar, target, content=content, mode=_mode(source))
        for target, points_to in sorted(image.links.items()):
            _add(tar, target, kind=tarfile.SYMTYPE, link=points_to)
    content = layer.getvalue()
    diff = hashlib.sha256(content).hexdigest()
    config = _config(image, diff)
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [image.name], "Layers": [f"{diff}/layer.tar"]}]).encode()
    with tarfile.open(fileobj=output, mode="w") as tar:  # type: ignore[call-overload]
        _add(tar, config_name, content=config)
        _add(tar, f"{diff}/layer.tar", content=content)
        _add(tar, "manifest.json", content=manifest)


def _config(image: Image, diff: str) -> bytes:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/sbin", **image.env}
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Env": [f"{k}={v}" for k, v in environment.items()],
                "Cmd": list(image.command),
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "dr lab"}],
        }
    ).encode()


def _folders(image: Image) -> list[str]:
    """All parents too, before what they hold."""
    paths = [
        Path(path) for path in (*image.directories, *(str(Path(name).parent) for name in (*image.files, *image.links)))
    ]
    wanted = {str(folder).strip("/") for path in paths for folder in (path, *path.parents)}
    return sorted(wanted - {""})


def _add(
    tar: tarfile.TarFile,
    name: str,
    *,
    content: bytes = b"",
    mode: int = 0o644,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
) -> None:
    entry = tarfile.TarInfo(name.lstrip("/"))
    entry.type, entry.mode, entry.linkname, entry.size = kind, mode, link, len(content)
    tar.addfile(entry, io.BytesIO(content))


def _mode(source: Path | bytes) -> int:
    return 0o644 if isinstance(source, bytes) else source.stat().st_mode & 0o777

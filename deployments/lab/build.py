"""Kubernetes, Velero and what else the lab compiles: from our own Go modules, once, cached by what went in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryFile, mkdtemp
from threading import Thread
from time import monotonic
from typing import IO

from deployments.lab.component import LabError

SOURCES = Path(__file__).with_name("go")
KUBERNETES_VERSION = "v1.35.4"
VELERO_VERSION = "v1.18.3"
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
EVERY_SECONDS = 3.0
DRAFT = "building-"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Module:
    """One Go module: its folder under go/, its packages, and the program that each becomes."""

    folder: str
    programs: dict[str, str]
    variables: dict[str, str]
    tags: str = ""

    def flags(self) -> list[str]:
        linked = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.variables.items())])
        return ["-trimpath", *([f"-tags={self.tags}"] if self.tags else []), f"-ldflags={linked}"]


MODULES = (
    Module("pause", {".": "pause"}, {}),
    Module(
        "kubernetes",
        {".": "k8s"},
        {
            "k8s.io/component-base/version.gitVersion": KUBERNETES_VERSION,
            "k8s.io/component-base/version.gitMajor": "1",
            "k8s.io/component-base/version.gitMinor": "35",
            "k8s.io/component-base/version.gitTreeState": "clean",
            "k8s.io/client-go/pkg/version.gitVersion": KUBERNETES_VERSION,
        },
        tags="providerless",
    ),
    Module(
        "velero",
        {
            "github.com/vmware-tanzu/velero/cmd/velero": "velero",
            "github.com/vmware-tanzu/velero/cmd/velero-helper": "velero-helper",
            "github.com/vmware-tanzu/velero/cmd/velero-restore-helper": "velero-restore-helper",
            "github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws": "velero-plugin-for-aws",
        },
        {"github.com/vmware-tanzu/velero/pkg/buildinfo.Version": VELERO_VERSION},
    ),
    Module("local-path", {"github.com/rancher/local-path-provisioner": "local-path-provisioner"}, {}),
)


def programs(tell: Tell, environment: Mapping[str, str]) -> dict[str, Path]:
    """Every compiled program by name; builds what no earlier build of the same sources has left in the cache.

    *environment* is added to the compiler's. Raises: LabError when Go is missing or a build fails."""
    version = _go_version()
    return {name: path for module in MODULES for name, path in _programs_of(module, version, tell, environment).items()}


def cache() -> Path:
    """The user's cache, so that a second clone builds nothing."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dr-runbooks"


def key(module: Module, go_version: str, sources: Path = SOURCES) -> str:
    """What the binaries depend on: the module's files, the compiler, the flags."""
    digest = hashlib.sha256(repr((go_version, module.flags(), sorted(ENVIRONMENT.items()))).encode())
    for file in sorted((sources / module.folder).iterdir()):
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _programs_of(module: Module, go_version: str, tell: Tell, environment: Mapping[str, str]) -> dict[str, Path]:
    folder = cache() / "bin" / f"{module.folder}-{key(module, go_version)}"
    found = {name: folder / name for name in module.programs.values()}
    if not folder.is_dir():
        with _locked(folder.parent):
            if not folder.is_dir():
                _build(module, folder, _Progress(module.folder, monotonic(), tell), environment)
    return found


def _build(module: Module, folder: Path, progress: _Progress, environment: Mapping[str, str]) -> None:
    """A folder appears in the cache only when all its programs are in it."""
    for leftover in folder.parent.glob(f"{DRAFT}*"):  # of a build that was killed: the lock is ours
        shutil.rmtree(leftover)
    draft = Path(mkdtemp(prefix=DRAFT, dir=folder.parent))
    env = {**os.environ, **environment, **ENVIRONMENT}
    try:
        progress.total = len(_go(module, ["list", "-deps", *module.programs], progress, env).splitlines())
        for package, name in module.programs.items():
            _go(module, ["build", "-v", *module.flags(), "-o", str(draft / name), package], progress, env)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    progress.tell(f"{module.folder}: built in {monotonic() - progress.started:.0f} s")


@dataclass
class _Progress:
    """Says every few seconds how far it is; packages that Go has in its own cache are not compiled again."""

    module: str
    started: float
    tell: Tell
    total: int = 0
    compiled: int = 0
    doing: str = "looking for modules"
    said: float = 0.0

    def saw(self, line: str) -> None:
        self.doing = line
        self.compiled += not line.startswith("go: ")

    def tick(self) -> None:
        if monotonic() - self.said >= EVERY_SECONDS:
            self.said = monotonic()
            far = f"compiled {self.compiled} of at most {self.total} packages"
            self.tell(f"{self.module}: {self.said - self.started:.0f} s, {far}, {self.doing}")


def _go(module: Module, arguments: list[str], progress: _Progress, env: Mapping[str, str]) -> str:
    """What go printed; what it says meanwhile is progress. Raises: LabError with the end of that."""
    said: list[str] = []
    with TemporaryFile("w+") as output:
        running = subprocess.Popen(
            ["go", *arguments],
            cwd=SOURCES / module.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in _lines(running, progress):
            said = [*said, line][-15:]
        if running.wait():
            problem = f"go {arguments[0]} in {SOURCES / module.folder} failed: {' / '.join(said)}"
            raise LabError(problem, "is the Go module proxy within reach? see `go env GOPROXY`")
        output.seek(0)
        return output.read()


def _lines(running: subprocess.Popen[str], progress: _Progress) -> Iterator[str]:
    """Its stderr. The linker is silent for half a minute: progress ticks all the same."""
    lines: Queue[str | None] = Queue()
    Thread(target=_pass_on, args=(running.stderr, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=1)
        except Empty:
            progress.tick()
            continue
        if line is None:
            return
        progress.saw(line)
        progress.tick()
        yield line


def _pass_on(stream: IO[str], lines: Queue[str | None]) -> None:
    for line in stream:
        lines.put(line.strip())
    lines.put(None)


def _go_version() -> str:
    try:
        return subprocess.run(
            ["go", "env", "GOVERSION"], capture_output=True, text=True, check=True, cwd="/"
        ).stdout.strip()
    except FileNotFoundError as error:
        raise LabError("go is not installed", "install Go 1.26 or newer: https://go.dev/dl") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two labs that start at once compile once."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        flock(handle, LOCK_EX)
        yield
    finally:
        os.close(handle)

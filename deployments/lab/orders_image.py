"""The application's images, made from files: Debian's Python, pg8000 out of our own environment, and the program.

Modules are compiled beforehand: three replicas that compile the standard library at once cost seconds of a recovery."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from importlib.metadata import distribution
from pathlib import Path
from tempfile import mkdtemp

from deployments.lab import build
from deployments.lab.component import LabError
from deployments.lab.images import REGISTRY, Image, busybox

PROGRAM = Path(__file__).with_name("orders")
PRESENT = f"{REGISTRY}/orders:1"
OTHER = f"{REGISTRY}/orders:2"
PYTHON = Path("/usr/bin/python3.11")
LIBRARY = Path("/usr/lib/python3.11")
PACKAGES = Path("/usr/lib/python3/dist-packages")
DISTRIBUTIONS = ("pg8000", "scramp", "asn1crypto", "python-dateutil", "six")
EXTENSIONS = (
    "_asyncio _contextvars _decimal _hashlib _json _multiprocessing _queue _ssl _typing _uuid _zoneinfo mmap resource"
)
NOT_NEEDED = shutil.ignore_patterns(
    "__pycache__", "config-3.11*", "curses", "dbm", "distutils", "ensurepip", "idlelib", "lib-dynload", "lib2to3",
    "pydoc_data", "sitecustomize.py", "sqlite3", "test", "tests", "tkinter", "turtle*", "unittest", "venv",
)  # fmt: skip


def images() -> list[Image]:
    """The version that runs, and one that differs in its version alone: for a restore that brings the wrong image."""
    runtime = {**_programs(), **_modules(), **busybox().files}
    return [_image(name, runtime) for name in (PRESENT, OTHER)]


def _image(name: str, runtime: dict[str, Path | bytes]) -> Image:
    own: dict[str, Path | bytes] = {f"/app/orders/{file.name}": file for file in sorted(PROGRAM.glob("*.py"))}
    return Image(
        name,
        {**runtime, **own, "/app/orders/VERSION": name.encode()},
        links=busybox().links,
        directories=("/tmp", "/data"),
        env={"PYTHONPATH": "/app", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
        command=("python3.11", "-m", "orders"),
    )


def _programs() -> dict[str, Path | bytes]:
    """The interpreter, the extensions that the program loads, and the shared libraries of both."""
    if not PYTHON.exists():
        raise LabError(
            f"{PYTHON} is missing, and the application's image is made from it", "apt-get install python3.11"
        )
    folder = LIBRARY / "lib-dynload"
    binaries = [PYTHON, *(found for name in EXTENSIONS.split() for found in folder.glob(f"{name}.*.so"))]
    return {str(path): path for binary in binaries for path in (binary, *_libraries(binary))}


def _libraries(binary: Path) -> list[Path]:
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    return [Path(word) for line in listed.splitlines() for word in line.split() if word.startswith("/")]


def _modules() -> dict[str, Path | bytes]:
    """Path in the image → compiled module, from the cache."""
    stage = _compiled()
    return {f"/{path.relative_to(stage)}": path for path in sorted(stage.rglob("*")) if path.is_file()}


def _compiled() -> Path:
    """The folder of compiled modules; it appears in the cache only when it is whole."""
    done = build.cache() / "python" / _key()
    if not done.is_dir():
        done.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix="compiling-", dir=done.parent))
        try:
            _stage(draft)
            _compile(draft)
            if not done.is_dir():
                draft.rename(done)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return done


def _key() -> str:
    version = subprocess.run([PYTHON, "-VV"], capture_output=True, check=True).stdout
    packages = "".join(f" {name} {distribution(name).version}" for name in DISTRIBUTIONS)
    return hashlib.sha256(version + packages.encode() + Path(__file__).read_bytes()).hexdigest()[:16]


def _stage(root: Path) -> None:
    shutil.copytree(LIBRARY, root / LIBRARY.relative_to("/"), ignore=NOT_NEEDED)
    for name in DISTRIBUTIONS:
        for file in distribution(name).files or ():
            if file.suffix == ".py" or file.name == "METADATA":  # pg8000 reads its own version out of the latter
                target = root / PACKAGES.relative_to("/") / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)


def _compile(root: Path) -> None:
    """Every .py becomes a .pyc in its place, which is never compared with a source that is not there."""
    argv = [str(PYTHON), "-m", "compileall", "-q", "-b", "-j2", f"-s{root}", "-p/"]
    argv += ["--invalidation-mode=unchecked-hash", str(root)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"Python's modules do not compile: {done.stdout[-400:]}", f"command: {' '.join(argv)}")
    for source in root.rglob("*.py"):
        source.unlink()

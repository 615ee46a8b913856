"""The listing of a volume, by the real tools of GNU and of busybox."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runbooks.records import FileRecord
from runbooks.site import Files
from tasks import files

TOOLS = ("sh", "find", "xargs", "stat", "sha256sum")
NAMES = (
    "plain.txt",
    "with space.txt",
    "with\nbreak.txt",
    "back\\slash",
    "-dash",
    'sub/quote\'d "x".txt',
    "naïve",
    "a\rb",
)


@pytest.fixture(params=["gnu", "busybox"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A PATH with only these tools."""
    bin = tmp_path / "bin"
    bin.mkdir()
    busybox = shutil.which("busybox")
    if request.param == "busybox":
        assert busybox is not None, "busybox is among the packages that the tests need"
    for tool in TOOLS:
        (bin / tool).symlink_to(str(busybox) if request.param == "busybox" else str(shutil.which(tool)))
    return str(bin)


def volume(root: Path, *exclude: str) -> Files:
    return Files(claim="invoices", namespace="n", selector="app=x", container="c", path=str(root), exclude=exclude)


def listed(wanted: Files, path: str) -> dict[str, FileRecord]:
    shell = Path(path) / "sh"
    done = subprocess.run([shell, "-c", files.script(wanted)], env={"PATH": path}, capture_output=True, check=True)
    assert done.stderr == b""
    return files.parsed(done.stdout, wanted.exclude)


def write(root: Path, name: str, text: str = "x") -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_any_name(tmp_path: Path, path: str) -> None:
    """Spaces, line breaks, quotes, backslashes and dashes in names come through, each with its own sum."""
    root = tmp_path / "data"
    for number, name in enumerate(NAMES):
        write(root, name, f"text {number}")
    found = listed(volume(root), path)
    assert {name: record.sha256 for name, record in found.items()} == {
        name: hashlib.sha256(f"text {number}".encode()).hexdigest() for number, name in enumerate(NAMES)
    }


def test_size_and_time(tmp_path: Path, path: str) -> None:
    """Times are UTC with their fraction, whatever the zone of the container."""
    file = write(tmp_path / "data", "a", "four")
    os.utime(file, ns=(0, 1_700_000_000_250_000_000))
    record = listed(volume(tmp_path / "data"), path)["a"]
    assert (record.size_bytes, record.modified_at) == (4, datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC))


def test_excluded_folder(tmp_path: Path, path: str) -> None:
    """It is left out with all below it; a name that only begins alike stays."""
    for name in ("markers/1", "markers/deep/2", "markers.txt", "kept/markers/3"):
        write(tmp_path / "data", name)
    assert set(listed(volume(tmp_path / "data", "markers/"), path)) == {"markers.txt", "kept/markers/3"}


def test_trace_of_velero(tmp_path: Path, path: str) -> None:
    """What a restore leaves in a volume is no file of the application."""
    for name in (".velero/0d634a34-d80d-4732-891d-9ddae03c898c", "deep/.velero/kept"):
        write(tmp_path / "data", name)
    assert set(listed(volume(tmp_path / "data"), path)) == {"deep/.velero/kept"}


def test_excluded_name_with_glob(tmp_path: Path, path: str) -> None:
    """An excluded path is a path, not a pattern."""
    for name in ("a*/1", "ab/2"):
        write(tmp_path / "data", name)
    assert set(listed(volume(tmp_path / "data", "a*"), path)) == {"ab/2"}


def test_empty_volume(tmp_path: Path, path: str) -> None:
    """No files are no files, not an error."""
    (tmp_path / "data").mkdir()
    assert listed(volume(tmp_path / "data"), path) == {}


def test_many_files(tmp_path: Path, path: str) -> None:
    """More than one batch of xargs: none is lost."""
    for number in range(3000):
        write(tmp_path / "data", f"{number:0200d}")
    assert len(listed(volume(tmp_path / "data"), path)) == 3000


def test_file_that_vanished() -> None:
    """One that was named but could be neither asked nor read is left out; those around it keep their own sums."""
    one, two = "1" * 64, "2" * 64
    output = (
        b"./a\0./gone\0./b\0\0"
        b"1 2026-01-01 00:00:00.5 +0000 ./a\n2 2026-01-01 00:00:00 +0000 ./b\n\0"
        + f"{one}  ./a\n{two}  ./b\n\0".encode()
    )
    assert {name: r.sha256 for name, r in files.parsed(output).items()} == {"a": one, "b": two}

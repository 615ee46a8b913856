"""Which software a run was made with."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runbooks.model import Json

ROOT = Path(__file__).resolve().parent.parent


def software(site_file: Path) -> dict[str, Json]:
    return {
        "commit": _commit(),
        "site_file_sha256": _sha256(site_file),
        "lock_sha256": _sha256(ROOT / "requirements-lab.lock"),
    }


def _commit() -> str | None:
    """The checkout's commit, "-dirty" behind it when files differ; an installed package gives its version."""
    try:
        found = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        return found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        try:
            return version("dr-runbooks")
        except PackageNotFoundError:
            return None


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def versions() -> dict[str, Json]:
    """What this process is made of; the versions of what it speaks to are noted where it meets them."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("prefect", "kubernetes", "boto3")}}

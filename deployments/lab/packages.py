"""What the machine must have: the one list of Debian packages, and what it lacks of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from deployments.lab.component import LabError

LIST = Path(__file__).with_name("apt.txt")
FOR_DATABASE = frozenset({"iproute2", "openssh-server", "postgresql-15", "pgbackrest", "restic"})
FOR_TESTS = frozenset({"jq", "socat", "poppler-utils", "chromium"})
"""Tests and people use them; the lab runs without."""


def listed() -> list[str]:
    lines = (line.partition("#")[0].strip() for line in LIST.read_text().splitlines())
    return [line for line in lines if line]


def require(*, only_database: bool) -> None:
    """Raises: LabError naming the packages that are missing for this shape of the lab."""
    wanted = [name for name in listed() if name not in FOR_TESTS and (not only_database or name in FOR_DATABASE)]
    missing = [name for name in wanted if not _is_installed(name)]
    if missing:
        raise LabError(f"not installed: {', '.join(missing)}", f"apt-get install --yes {' '.join(missing)}")


def _is_installed(name: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", name]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"
    except FileNotFoundError as error:
        raise LabError("this is no Debian: dpkg-query is missing", "the lab needs Debian 12 or newer") from error

"""What each scheduled backup and each verification came to, a JSON line each, beside the evidence of the runs."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

from runbooks.model import Model
from runbooks.site import Site


def file(site: Site) -> Path:
    return site.evidence.directory / "history" / "backups.jsonl"


def append(site: Site, what: Model) -> None:
    """One line, whole, also when several processes write."""
    path = file(site)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as out:
        fcntl.flock(out, fcntl.LOCK_EX)
        out.write(json.dumps({"what": type(what).__name__, **what.model_dump(mode="json")}) + "\n")


def read(site: Site) -> list[dict[str, Any]]:
    """Oldest first; a torn last line is left out."""
    if not (path := file(site)).exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found

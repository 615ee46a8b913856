"""A set of files on a host, and the restic repository that it is backed up to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from runbooks.model import Model
from runbooks.secret import Secret

BACKUP_CRON = "0 3 * * *"
VERIFICATION_CRON = "0 5 * * *"
"""UTC. Every set has them, as deployments/prefect.yaml says."""


class Retention(Model):
    """What `restic forget` keeps: the last snapshot of so many days, weeks and months."""

    daily: int = Field(default=7, ge=1)
    weekly: int = Field(default=4, ge=0)
    monthly: int = Field(default=12, ge=0)


def _rooted(path: str) -> str:
    """Plain, absolute, and not the whole disk: it is going to be renamed."""
    if not path.startswith("/") or path == "/" or "\0" in path or ".." in path.split("/"):
        raise ValueError("must be an absolute path below /, without ..")
    return str(PurePosixPath(path))


class FileSet(Model):
    """Files that are backed up and brought back together. The store's name in a report is files:NAME."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    host: str = Field(description="one of [[hosts]]: restic runs there")
    user: str | None = Field(default=None, description="who runs restic there; default: who logs in")
    hostname: str | None = Field(default=None, description="as snapshots name the host; default: the host's name here")
    paths: tuple[Annotated[str, AfterValidator(_rooted)], ...] = Field(min_length=1)
    exclude: tuple[str, ...] = ()
    repository: str = Field(description="as restic reads it, such as s3:https://s3.amazonaws.com/BUCKET/FOLDER")
    password: Secret
    access_key: Secret | None = None
    secret_key: Secret | None = None
    restic: str = Field(default="restic", description="the program, on the host")
    retention: Retention = Retention()
    check_parts: int = Field(default=7, ge=1, le=256, description="a check reads one of so many parts of the data")
    test_files: int = Field(default=20, ge=1, description="how many files the daily restore test brings back")

    @property
    def store(self) -> str:
        return f"files:{self.name}"

    @property
    def known_as(self) -> str:
        """How the host is called in snapshots."""
        return self.hostname or self.host

    def problems(self) -> Iterator[str]:
        for one, other in pairwise(sorted(f"{path}/" for path in self.paths)):
            if other.startswith(one):
                yield f"paths: {other.rstrip('/')} lies in {one.rstrip('/')}"
        if (self.access_key is None) != (self.secret_key is None):
            yield "access_key and secret_key: one without the other"

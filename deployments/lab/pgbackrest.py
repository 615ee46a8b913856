"""pgBackRest in a region: stanza, backups, and what it says of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deployments.lab.component import LabError, wait_for
from deployments.lab.postgres_files import PROGRAMS, STANZA, USER, files

if TYPE_CHECKING:
    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

MISSING_STANZA = 1
NO_BACKUP = 2
UNREADABLE = 99


def as_postgres(lab: Lab, region: Region, argv: list[str], *, input: str | None = None, seconds: float = 60) -> str:
    """What *argv* printed, run in the region by the user postgres. Raises: LabError."""
    kept = files(lab, region)
    env = {
        "PATH": f"{PROGRAMS}:/usr/bin:/bin",
        "HOME": str(kept.root),
        "TMPDIR": str(kept.root / "tmp"),
        "PGHOST": str(kept.socket),
        "PGPORT": str(region.ports.postgres),
        "PGUSER": USER,
        "PGDATABASE": "postgres",
    }
    return lab.run(argv, region=region.name, user=USER, env=env, input=input, seconds=seconds)


def command(lab: Lab, region: Region, *arguments: str, seconds: float = 120) -> str:
    """One pgBackRest command; the configuration is always named, since it is written into restore_command."""
    config = f"--config={files(lab, region).pgbackrest}"
    return as_postgres(lab, region, ["pgbackrest", config, f"--stanza={STANZA}", *arguments], seconds=seconds)


def info(lab: Lab, region: Region) -> dict[str, Any]:
    """What the region's repository holds. A stanza that is missing is status 1, not an error."""
    answer = json.loads(command(lab, region, "info", "--output=json"))
    return dict(answer[0]) if answer else {"status": {"code": MISSING_STANZA, "message": "no stanza"}, "backup": []}


def labels(lab: Lab, region: Region) -> list[str]:
    """Names of the complete backups, oldest first."""
    return [backup["label"] for backup in info(lab, region)["backup"] if not backup.get("error")]


def held(lab: Lab, region: Region) -> int:
    """How many backups the repository holds. Raises: LabError unless its status is ok."""
    answer = info(lab, region)
    if answer["status"]["code"]:
        raise _not_ok(lab, region, answer)
    return len(answer["backup"])


def protect(lab: Lab, region: Region) -> None:
    """The stanza exists and has a full backup. Raises: LabError."""
    if _status(lab, region) == MISSING_STANZA:
        command(lab, region, "stanza-create")
    if _status(lab, region) == NO_BACKUP:
        command(lab, region, "--type=full", "backup")
    held(lab, region)


def _status(lab: Lab, region: Region) -> int:
    """The status, once the repository has been read: S3 may still be slow in its first seconds."""

    def look() -> int | None:
        answer = info(lab, region)
        if answer["status"]["code"] == UNREADABLE:
            raise _not_ok(lab, region, answer)
        return int(answer["status"]["code"])

    return wait_for(look, what=f"repository of region {region.name}", seconds=30, hint="is S3 up? dr lab status")


def _not_ok(lab: Lab, region: Region, answer: dict[str, Any]) -> LabError:
    said = [repository["status"]["message"] for repository in answer.get("repo", [])]
    problem = f"pgBackRest in region {region.name}: {answer['status']['message']}: {'; '.join(said)}"
    return LabError(problem, f"see {files(lab, region).root / 'log'}")

"""Files on a region's host, with a restic repository in its S3: what `file-restore` brings back."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

from deployments.lab import object_store
from deployments.lab.component import LabError, Proof
from deployments.lab.lab import program
from deployments.lab.postgres_files import USER
from deployments.lab.proof import milliseconds

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

SEED = 20261123
COUNT = 200
LARGEST_BYTES = 40_000
EXCLUDED = ("*.tmp", "*.log", "*.cache")


@dataclass(frozen=True)
class Documents:
    """Invoices of which each is the same in every lab, and a ledger that grows with each `up`."""

    region: Region

    @property
    def name(self) -> str:
        return f"documents-{self.region.name}"

    def start(self, lab: Lab) -> None:
        """The files, seeded once; a repository; a first snapshot, so that a drill may start at once."""
        home = _home(lab, self.region)
        if not (home / "seeded").exists():
            _seed(root(lab, self.region))
            lab.run(["chown", "--recursive", f"{USER}:{USER}", str(home)])
            (home / "seeded").touch()
        grows = root(lab, self.region) / "ledger.txt"
        with grows.open("a") as ledger:
            ledger.write(f"opened {datetime.now(UTC):%FT%TZ}\n")
        shutil.chown(grows, USER, USER)  # restic restores no owner but its own
        lab.secret("restic-password")
        if not _exists(lab, self.region):
            restic(lab, self.region, "init")
        if not snapshots(lab, self.region):
            excluded = [f"--exclude={pattern}" for pattern in EXCLUDED]
            host = f"--host={host_name(self.region)}"
            restic(lab, self.region, "backup", host, *excluded, "--", str(root(lab, self.region)))

    def prove(self, lab: Lab) -> Proof:
        begun = monotonic()
        found = snapshots(lab, self.region)
        if not found:
            raise LabError(f"{self.name} has no snapshot", "dr lab up makes one")
        said = f"{len(found)} snapshots of {COUNT} files, {milliseconds(begun)}"
        return Proof(self.name, self.region.name, str(root(lab, self.region)), None, None, said)

    def environment(self, lab: Lab) -> dict[str, str]:
        return {f"DOCUMENTS_{self.region.name.upper()}": str(root(lab, self.region))}

    def stop(self, lab: Lab) -> None:
        """It ends with its object store."""


def host_name(region: Region) -> str:
    """As the site file names the host, and so do the snapshots."""
    return f"db-{region.name}"


def _home(lab: Lab, region: Region) -> Path:
    """Owned by the user that restic runs as: what is restored lies beside the files for a while."""
    return lab.folder(region.name, "files")


def root(lab: Lab, region: Region) -> Path:
    return lab.path(region.name, "files", "documents")


def repository(region: Region) -> str:
    return f"s3:{region.s3_url}/restic/documents"


def password_file(lab: Lab) -> Path:
    return lab.path("secrets", "restic-password")


def restic(lab: Lab, region: Region, *argv: str) -> str:
    """What restic printed, run in the region by the files' owner. Raises: LabError."""
    keys = object_store.identity(lab, "restic")
    env = {
        "RESTIC_REPOSITORY": repository(region),
        "RESTIC_PASSWORD": lab.secret("restic-password"),
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "HOME": str(_home(lab, region)),
    }
    return lab.run([program("restic"), *argv], region=region.name, user=USER, env=env, seconds=60)


def snapshots(lab: Lab, region: Region) -> list[dict[str, object]]:
    found = json.loads(restic(lab, region, "snapshots", "--json", "--no-lock"))
    return list(found or [])


def _exists(lab: Lab, region: Region) -> bool:
    """S3 works when this is asked, so what cannot be opened is not there."""
    try:
        restic(lab, region, "cat", "config", "--no-lock")
    except LabError as error:
        if "The specified key does not exist" in error.problem:
            return False
        raise
    return True


def _seed(folder: Path) -> None:
    """The same bytes in every lab."""
    chance = Random(SEED)
    for number in range(COUNT):
        file = folder / f"{2020 + number % 7}" / f"invoice-{number:05}.pdf"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(chance.randbytes(chance.randrange(1_000, LARGEST_BYTES)))
    (folder / "2026" / "Rechnung für Müller & Söhne.pdf").write_bytes(chance.randbytes(2_000))
    (folder / "newest").symlink_to("2026")
    (folder / "draft.tmp").write_text("not backed up\n")

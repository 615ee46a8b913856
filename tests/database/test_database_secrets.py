"""The daily flows, one of them red, and a drill of files: none of them lets a secret out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from runbooks import site as sites
from tests.database import outside
from tests.database.the_database import TheDatabase
from tests.lab import secret_search
from tests.lab.the_lab import ROOT

pytestmark = [pytest.mark.database, pytest.mark.timeout(400)]
DAY = """
import subprocess, sys
from flows import backup_verification, scheduled_backups

def run(flow, name):
    try:
        flow("lab", name)
        print("green", flow.name, flush=True)
    except Exception as error:
        print("red", flow.name, error, flush=True)

run(scheduled_backups.database_backup, "orders")
run(scheduled_backups.file_set_backup, "documents")
run(backup_verification.database_verification, "orders")
run(backup_verification.file_set_verification, "documents")
subprocess.run(sys.argv[1:], check=True, cwd="/")
run(scheduled_backups.file_set_backup, "documents")
"""
"""The last one is red: the files are away. Others may be, by what other tests left in the repository."""
FILES = ("run", "file-restore", "--site", "lab", "--mode", "drill", "--impact", "sandbox", "--yes", "--no-server")


def stored(database: TheDatabase) -> dict[str, bytes]:
    """All that the evidence store holds: journals, reports, history."""
    keys = [(database.root / "secrets" / f"s3-admin-{kind}").read_text() for kind in ("access", "secret")]
    s3 = boto3.client(
        "s3", endpoint_url=database.env["S3_ENDPOINT_EVIDENCE"], region_name="us-east-1",
        aws_access_key_id=keys[0], aws_secret_access_key=keys[1], config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="evidence")
    found = [one["Key"] for page in pages for one in page.get("Contents", [])]
    return {f"evidence store: {key}": s3.get_object(Bucket="evidence", Key=key)["Body"].read() for key in found}


def a_day(documents: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Flow runs with a server of their own, whose database holds parameters, artifacts and logs."""
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": "",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    away = ["mv", str(documents), f"{documents}.away"]
    return subprocess.run([sys.executable, "-c", DAY, *away], cwd=ROOT, env={**os.environ, **settings}, text=True,
                          capture_output=True, timeout=360, check=False, stdin=subprocess.DEVNULL)  # fmt: skip


def test_no_secret_gets_out(database: TheDatabase, run_id: str, tmp_path: Path) -> None:
    """Looked for plain, in base64 and URL-encoded: logs of runner and database, Prefect's database, history, evidence,
    messages, what was printed, and every command line on either side meanwhile."""
    [documents] = map(Path, sites.load("lab").file_set("documents").paths)
    with secret_search.process_list() as processes:
        day = a_day(documents, tmp_path / "prefect")
        if (away := Path(f"{documents}.away")).exists():
            away.rename(documents)
        files = database.dr(*FILES, "--run-id", run_id)
    assert day.returncode == 0, day.stderr[-3000:]
    ran = [line for line in day.stdout.splitlines() if line.startswith(("green ", "red "))]
    assert (len(ran), ran[-1].split()[0]) == (5, "red"), day.stdout
    assert files.returncode == 0, files.stderr[-3000:]
    printed = "".join(one.stdout + one.stderr for one in (day, files))
    places = {**outside.places(database, run_id, printed), **stored(database), "the process list": processes.text}
    places |= {str(path): path.read_bytes() for path in (tmp_path / "prefect").rglob("*") if path.is_file()}
    for names in ("history/rows:orders/", "history/files:documents/", f"runs/{run_id}/", "prefect.db", "slack.jsonl"):
        assert [name for name in places if names in name], f"nothing of {names} was looked at"
    assert b"pgbackrest" in processes.text
    assert b"restic" in processes.text
    secrets = outside.secrets(database)
    assert len(secrets) > 8
    assert secret_search.found(secrets, places) == []

"""What is known of a drill without the software under test: a client's stopwatch, and the markers that it was given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from runbooks.records import CheckStatus
from runbooks.report_schema import Report
from tests.database.the_database import TheDatabase
from tests.lab import secret_search, stopwatch


@dataclass(frozen=True)
class Markers:
    lost: list[str]
    """Acknowledged before the fault, and not there."""
    given_up: list[str]
    """Acknowledged since, and not there."""


def markers(database: TheDatabase, since: datetime, fault: datetime, until: datetime) -> Markers:
    """What the observer was acknowledged during this run, against the rows that the database holds now."""
    held = set(database.sql("select id from markers_rows").splitlines())
    missing: tuple[list[str], list[str]] = ([], [])
    for line in Path(database.env["MARKER_LOG"]).read_text().splitlines():
        told = json.loads(line)
        at = datetime.fromisoformat(told["at"])
        if since <= at < until and told["id"] not in held:
            missing[at >= fault].append(told["id"])
    return Markers(*missing)


def agrees(database: TheDatabase, report: Report, log: Path) -> Markers:
    """The report's clocks and losses are those that were seen from outside, within 2 s and to the marker."""
    fault, visible, validated = report.clocks.fault, report.clocks.client_visible, report.clocks.validated
    assert fault is not None
    assert visible is not None
    assert validated is not None
    red, green = stopwatch.outage(log, report.clocks, sustain=1)
    assert report.actual.outage_seconds == pytest.approx(green - red, abs=2)
    assert visible.timestamp() == pytest.approx(green, abs=2)
    assert report.actual.rto_seconds == pytest.approx(max(green, validated.timestamp()) - fault.timestamp(), abs=2)
    seen = markers(database, report.clocks.started, fault, validated)
    [rows] = [s for a in report.applications for s in a.stores if s.name == "rows:orders"]
    assert rows.lost == len(seen.lost)
    assert rows.given_up == len(seen.given_up)
    return seen


def has_passed(database: TheDatabase, run_id: str, output: str) -> Report:
    """Passed, and every check green."""
    report = database.report(run_id)
    assert report.verdict == "passed", output
    checks = [c for a in report.applications for c in a.checks]
    assert [c for c in checks if c.status is not CheckStatus.PASSED] == []
    assert len(checks) >= 10
    assert report.evidence_complete
    return report


def secrets(database: TheDatabase) -> dict[str, str]:
    """By the file that holds them."""
    files = [p for p in (database.root / "secrets").iterdir() if p.suffix != ".json"]
    found = {p.name: p.read_text().strip() for p in files}
    for key in (*database.root.glob("shared/tls/*.key"), *database.root.glob("shared/ssh/client")):
        found[key.name] = key.read_text().splitlines()[2]
    return {name: value for name, value in found.items() if len(value) >= secret_search.SHORTEST}


def places(database: TheDatabase, run_id: str, output: str) -> dict[str, bytes]:
    """All that a run leaves behind: evidence, observations, logs, messages."""
    folders = [database.evidence(run_id), database.root / "observer", database.folder() / "log"]
    files = [p for folder in folders for p in folder.rglob("*") if p.is_file()]
    files += [database.root / "log" / "observer.log", Path(database.env["SLACK_LOG"])]
    found = {str(p): p.read_bytes() for p in files}
    return {**found, "what dr printed": output.encode()}

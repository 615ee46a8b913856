"""Daily work that did not happen: no red entry tells of it, the schedule does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from runbooks import site as sites
from runbooks.file_sets import BACKUP_CRON, VERIFICATION_CRON
from runbooks.model import Instant
from runbooks.site import Bucket, Site
from tasks import history, overdue
from tasks.history import Entry, What

STORE = "rows:orders"
NOON = datetime(2026, 11, 25, 12, 20, tzinfo=UTC)
"""A Wednesday. Full at 02:00, incremental every hour, restore test at 04:30."""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """One database, whose first backup is two days old."""
    example = sites.load("production")
    evidence = example.evidence.model_copy(update={"store": Bucket(url=f"file://{tmp_path}")})
    [orders] = [one for one in example.databases if one.name == "orders"]
    assert orders.backups is not None
    backups = orders.backups.model_copy(update={"differential": None})
    databases = (orders.model_copy(update={"backups": backups}),)
    made = example.model_copy(update={"evidence": evidence, "databases": databases, "file_sets": ()})
    keep(made, "backup", NOON - 2 * DAY, "full")
    return made


def keep(site: Site, what: What, at: Instant, kind: str | None = None, problem: str | None = None) -> None:
    entry = Entry(what=what, store=STORE, kind=kind, run="r", at=at, seconds=1, told="", problem=problem, hint=problem)
    history.keep(site, entry)


def names(site: Site, at: Instant = NOON) -> list[str]:
    return [one.due.name for one in overdue.look(site, at=at)]


def all_done(site: Site) -> None:
    keep(site, "backup", NOON.replace(hour=2, minute=0, second=1), "full")
    keep(site, "verification", NOON.replace(hour=4, minute=30, second=1))
    keep(site, "backup", NOON.replace(minute=0, second=1), "incremental")


def test_all_done(site: Site) -> None:
    """Each was begun since its schedule asked for it last."""
    all_done(site)
    assert names(site) == []


def test_full_backup_in_the_hour_of_another(site: Site) -> None:
    """The larger one will do for the smaller."""
    all_done(site)
    keep(site, "backup", NOON.replace(hour=13, minute=0, second=1), "full")
    assert names(site, NOON.replace(hour=13, minute=50)) == []


def test_red_one(site: Site) -> None:
    """It was made: that it is red is told as such."""
    keep(site, "backup", NOON.replace(hour=2, minute=0, second=1), "full")
    keep(site, "verification", NOON.replace(hour=4, minute=31), problem="a row is missing")
    keep(site, "backup", NOON.replace(minute=0, second=1), "incremental")
    assert names(site) == []


def test_nothing_since_yesterday(site: Site) -> None:
    """Each is named with since when, what there was last, and what to do."""
    keep(site, "verification", NOON - 1.3 * DAY)
    late = {one.due.name: one for one in overdue.look(site, at=NOON)}
    assert set(late) == {"full backup", "incremental backup", "verification"}
    assert late["verification"].problem == (
        "verification of rows:orders is overdue since 2026-11-25T04:30:00.000Z: "
        "the last one began at 2026-11-24T05:08:00.000Z"
    )
    assert late["full backup"].hint.endswith("by hand: dr backups make --database orders --kind full")
    assert late["incremental backup"].since == NOON.replace(hour=11, minute=0)


def test_never_verified(site: Site) -> None:
    """The site has backed up for two days."""
    keep(site, "backup", NOON.replace(hour=2, minute=0, second=1), "full")
    keep(site, "backup", NOON.replace(minute=0, second=1), "incremental")
    [late] = overdue.look(site, at=NOON)
    assert late.problem.endswith("there never was one")
    assert late.hint.endswith("dr backups verify --database orders")


def test_site_without_history(site: Site, tmp_path: Path) -> None:
    """Nothing was ever made: nobody deployed its schedules."""
    store = Bucket(url=f"file://{tmp_path / 'empty'}")
    bare = site.model_copy(update={"evidence": site.evidence.model_copy(update={"store": store})})
    assert names(bare) == ["full backup", "incremental backup", "verification"]


def test_young_site(site: Site) -> None:
    """Its first backup was by hand, half an hour ago: the times of the schedule before that do not count."""
    assert names(site, NOON - 2 * DAY + HOUR / 2) == []


def test_while_it_is_at_work(site: Site) -> None:
    """It may take its time: half of the time to the next one, or what the site allows, if that is less."""
    all_done(site)
    assert names(site, NOON.replace(hour=13, minute=29)) == []
    assert names(site, NOON.replace(hour=13, minute=31)) == ["incremental backup"]


def test_schedules_of_file_sets() -> None:
    """Are those of the deployments."""
    written = yaml.safe_load((sites.PROJECT / "deployments" / "prefect.yaml").read_text())["deployments"]
    crons = {one["entrypoint"].rpartition(".")[2]: one["schedules"][0]["cron"] for one in written
             if one.get("each") == "file_set"}  # fmt: skip
    assert crons == {"file_set_backup": BACKUP_CRON, "file_set_verification": VERIFICATION_CRON}

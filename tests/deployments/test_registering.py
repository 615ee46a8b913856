"""When scheduled things begin is in the site file."""

from __future__ import annotations

from deployments.commands import registering, registry
from runbooks import site as sites
from runbooks.site import Site
from tasks.clients import prefect_api


def crons(site: Site, scenario: str) -> dict[str, tuple[str, object]]:
    [one] = [each for each in registry.deployments() if each.scenario == scenario]
    schema = prefect_api.schema_of(registry.loaded(one))
    found = registering.wanted(one, schema, site).schedules
    return {schedule.slug: (schedule.cron, schedule.parameters) for schedule in found}


def test_of_a_database() -> None:
    """Each kind of backup, and the restore test, as its table says; a kind that is left out has no schedule."""
    site = sites.load("production")
    told = {"site": "production", "database": "orders"}
    assert crons(site, "database-backup") == {
        "full-orders": ("0 2 * * *", {**told, "kind": "full"}),
        "differential-orders": ("0 14 * * *", {**told, "kind": "differential"}),
        "incremental-orders": ("0 * * * *", {**told, "kind": "incremental"}),
    }
    assert crons(site, "database-verification") == {"daily-orders": ("30 4 * * *", told)}
    [database] = site.databases
    assert database.backups is not None
    backups = database.backups.model_copy(update={"differential": None, "full": "5 1 * * *"})
    other = database.model_copy(update={"backups": backups, "restore_test": None})
    changed = site.model_copy(update={"databases": (other,)})
    assert {slug: cron for slug, (cron, _) in crons(changed, "database-backup").items()} == {
        "full-orders": "5 1 * * *",
        "incremental-orders": "0 * * * *",
    }
    assert crons(changed, "database-verification") == {}


def test_of_a_database_that_is_only_asked() -> None:
    """It has no table, and nothing is scheduled."""
    site = sites.load("production")
    [database] = site.databases
    asked = database.model_copy(update={"backups": None, "restore_test": None, "server": None})
    changed = site.model_copy(update={"databases": (asked,)})
    assert crons(changed, "database-backup") == crons(changed, "database-verification") == {}

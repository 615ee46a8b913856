"""What the observer saw while a backup was taken, against what the backup holds."""

from __future__ import annotations

import pytest

from runbooks import compare
from tests.runbooks import shop
from tests.runbooks.shop import Body, Objects

SEEN = shop.load("before")
BACKUP = shop.load("backup")
LABEL = "ConfigMap/web"


def recoloured(objects: Objects) -> Objects:
    def change(body: Body) -> None:
        body["data"] = {"color": "red"}

    return shop.changed(objects, LABEL, change)


def going(body: Body) -> None:
    body["metadata"]["deletionTimestamp"] = "2026-11-23T10:00:00Z"


def test_whole_backup() -> None:
    """It holds all that was there from its start to its end."""
    found = compare.held(SEEN, SEEN, BACKUP)
    assert found.differences == ()
    assert found.compared > 20


@pytest.mark.parametrize("label", [LABEL, "Deployment/web", "Secret/web", "Widget/wheel"])
def test_object_missing_in_the_backup(label: str) -> None:
    """It is named; Velero calls such a backup Completed."""
    [found] = compare.held(SEEN, SEEN, shop.without(BACKUP, label)).differences
    assert found.where == label


def test_object_otherwise_in_the_backup() -> None:
    """Held with other content than it had from start to end."""
    assert [d.where for d in compare.held(SEEN, SEEN, recoloured(BACKUP)).differences if LABEL in d.where]


@pytest.mark.parametrize("backup", [BACKUP, recoloured(BACKUP), shop.without(BACKUP, LABEL)])
def test_object_changed_meanwhile(backup: Objects) -> None:
    """Velero may have read it before or after; nothing is asked of it."""
    assert compare.held(SEEN, recoloured(SEEN), backup).differences == ()
    assert compare.held(recoloured(SEEN), SEEN, backup).differences == ()


@pytest.mark.parametrize("backup", [BACKUP, shop.without(BACKUP, LABEL)])
def test_object_that_came_or_went_meanwhile(backup: Objects) -> None:
    """It may be in the backup or not."""
    assert compare.held(SEEN, shop.without(SEEN, LABEL), backup).differences == ()
    assert compare.held(shop.without(SEEN, LABEL), SEEN, backup).differences == ()


def test_object_being_deleted() -> None:
    """Velero leaves it out."""
    seen = shop.changed(SEEN, LABEL, going)
    assert compare.held(seen, seen, shop.without(BACKUP, LABEL)).differences == ()

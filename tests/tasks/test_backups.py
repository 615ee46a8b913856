"""Which backup is usable, and what it covers: pure rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbooks.errors import Refused
from runbooks.records import Backup, CheckStatus, KubeObject, VolumeBackup
from tasks import backups
from tasks.backups import Wanted

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WANTED = Wanted(namespaces=("production",), location="default", valid_until=NOON + timedelta(hours=2), drill=True)


def backup(name: str, *, minutes_old: float = 10, **changed: Any) -> Backup:
    started = NOON - timedelta(minutes=minutes_old)
    whole: dict[str, Any] = {
        "name": name,
        "uid": f"uid-{name}",
        "phase": "Completed",
        "location": "default",
        "started_at": started,
        "completed_at": started + timedelta(seconds=7),
        "expires_at": NOON + timedelta(days=3),
        "namespaces": ("production",),
        "is_safety_net": False,
    }
    return Backup(**(whole | changed))


def test_newest_usable() -> None:
    """Of several usable ones the newest is taken, in whatever order they are listed."""
    choice = backups.choose([backup("b", minutes_old=20), backup("a", minutes_old=5), backup("c")], WANTED)
    assert (choice.backup.name, choice.why, choice.rejected) == ("a", "the newest of 3 usable backups", ())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"phase": "PartiallyFailed"}, "PartiallyFailed"),
        ({"phase": "InProgress", "completed_at": None}, "InProgress"),
        ({"phase": "Deleting"}, "Deleting"),
        ({"location": "copy"}, "in location copy, not default"),
        ({"started_at": None}, "without a start time"),
        ({"expires_at": NOON - timedelta(hours=1)}, "expired or about to, at 2026-11-23T11:00:00.000Z"),
        ({"expires_at": NOON + timedelta(hours=1)}, "expired or about to, at 2026-11-23T13:00:00.000Z"),
        ({"is_safety_net": True}, "the safety backup of a drill"),
        ({"namespaces": ("staging",)}, "without namespace production"),
        ({"namespaces": ("*",), "without_namespaces": ("prod*",)}, "without namespace production"),
        ({"limited_by": ("labelSelector",)}, "limited by labelSelector"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_newer_but_not_usable(changed: dict[str, Any], why: str) -> None:
    """The next older one is taken, and the plan says why not this one."""
    choice = backups.choose([backup("old", minutes_old=30), backup("new", **changed)], WANTED)
    assert choice.backup.name == "old"
    assert choice.why == "the only usable backup"
    assert [(r.backup, r.why) for r in choice.rejected] == [("new", why)]


def test_started_after_the_fault() -> None:
    """It may hold the damage, so the one before it is chosen; one that started at the fault counts as after it."""
    fault = NOON - timedelta(minutes=10)
    wanted = WANTED.model_copy(update={"before": fault, "drill": False})
    choice = backups.choose([backup("before", minutes_old=25), backup("at"), backup("after", minutes_old=5)], wanted)
    assert choice.backup.name == "before"
    assert choice.rejected[0].why == "started at 2026-11-23T11:55:00.000Z, not before the fault"


def test_safety_backup_in_an_incident() -> None:
    """It may be the newest good data there is."""
    wanted = WANTED.model_copy(update={"drill": False})
    choice = backups.choose([backup("scheduled", minutes_old=30), backup("safety", is_safety_net=True)], wanted)
    assert choice.backup.name == "safety"


def test_backup_of_everything() -> None:
    """One without a list of namespaces holds them all."""
    assert backups.choose([backup("all", namespaces=("*",))], WANTED).backup.name == "all"


def test_one_of_two_namespaces_missing() -> None:
    """An application of two namespaces needs both."""
    wanted = WANTED.model_copy(update={"namespaces": ("production", "workers")})
    with pytest.raises(Refused, match="half \\(without namespace workers\\)"):
        backups.choose([backup("half")], wanted)


def test_none_usable() -> None:
    """Each is named with its reason."""
    failed = [backup("a", phase="Failed"), backup("b", minutes_old=30, expires_at=NOON)]
    with pytest.raises(Refused) as raised:
        backups.choose(failed, WANTED)
    assert str(raised.value) == (
        "2 backups, none usable: a (Failed), b (expired or about to, at 2026-11-23T12:00:00.000Z)\n"
        "HINT: why did they fail? velero backup describe NAME; "
        "then take one: velero backup create --from-schedule NAME"
    )


def test_no_backup() -> None:
    """That there is none at all is another trouble than that none is usable."""
    with pytest.raises(Refused, match="there is no backup at all"):
        backups.choose([], WANTED)


def test_named_backup() -> None:
    """It is taken though there is a newer one."""
    choice = backups.choose([backup("old", minutes_old=30), backup("new")], WANTED, named="old")
    assert (choice.backup.name, choice.why) == ("old", "named by the request")


def test_named_backup_not_usable() -> None:
    """A name replaces the choice, not the rule."""
    with pytest.raises(Refused, match="backup bad is not usable: Failed\nHINT: leave it out"):
        backups.choose([backup("good"), backup("bad", phase="Failed")], WANTED, named="bad")


def test_named_backup_unknown() -> None:
    """Another one is never taken in its place."""
    with pytest.raises(Refused, match="there is no backup nope"):
        backups.choose([backup("good")], WANTED, named="nope")


# -- Velero's own objects ---------------------------------------------------------------------------------------------


def velero_backup(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "b", "uid": "u", "labels": {"dr-runbooks/safety-net": "true"}},
        "spec": {
            "storageLocation": "default",
            "includedNamespaces": ["production"],
            "excludedNamespaceScopedResources": ["volumesnapshots.snapshot.storage.k8s.io"],
            **spec,
        },
        "status": {
            "phase": "Completed",
            "startTimestamp": "2026-11-23T11:50:00Z",
            "completionTimestamp": "2026-11-23T11:50:07Z",
            "expiration": "2026-11-26T11:50:00Z",
            "warnings": 1,
        },
    }


def volume_backup(claim: str, phase: str, backup: str = "b") -> dict[str, Any]:
    return {
        "metadata": {"labels": {"velero.io/backup-name": backup}, "annotations": {"velero.io/pvc-name": claim}},
        "spec": {"pod": {"namespace": "production", "name": "orders-1"}, "volume": "data"},
        "status": {"phase": phase, "progress": {"totalBytes": 42}},
    }


def test_parsed() -> None:
    """With its volumes, and with none of another backup's."""
    volumes = [volume_backup("invoices", "Completed"), volume_backup("invoices", "Completed", backup="other")]
    [found] = backups.parse_all([velero_backup()], volumes)
    assert found.volumes == (VolumeBackup(claim="production/invoices", phase="Completed", size_bytes=42),)
    assert (found.is_safety_net, found.limited_by, found.warnings, found.started_at) == (
        True, (), 1, NOON - timedelta(minutes=10),
    )  # fmt: skip


@pytest.mark.parametrize(
    "limit",
    [
        {"labelSelector": {"matchLabels": {"app": "orders"}}},
        {"orLabelSelectors": [{"matchLabels": {"app": "orders"}}]},
        {"includedResources": ["configmaps"]},
        {"excludedResources": ["secrets", "events"]},
        {"includedNamespaceScopedResources": ["pods"]},
        {"excludedNamespaceScopedResources": ["volumesnapshots.snapshot.storage.k8s.io", "jobs.batch"]},
    ],
    ids=lambda value: next(iter(value)),
)
def test_parsed_with_a_limit(limit: dict[str, Any]) -> None:
    """A backup that left objects out is not a backup of the namespace, though it is Completed."""
    assert backups.parse(velero_backup(**limit), []).limited_by == tuple(limit)


def test_parsed_without_events() -> None:
    """What nobody restores may be left out."""
    found = backups.parse(velero_backup(includedResources=["*"], excludedResources=["events"]), [])
    assert found.limited_by == ()


def test_parsed_while_new() -> None:
    """Velero has not looked at it: no status at all."""
    found = backups.parse({"metadata": {"name": "b", "uid": "u"}, "spec": {}}, [])
    assert (found.phase, found.namespaces, found.started_at) == ("New", ("*",), None)


# -- coverage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("volumes", "phase", "not_backed_up", "problem"),
    [
        (("Completed",), "Bound", (), None),
        (("Failed", "Completed"), "Bound", (), None),
        ((), "Bound", ("cache",), None),
        ((), "Bound", ("production/cache",), None),
        (("Failed",), "Bound", (), "its volume backup is Failed"),
        (("InProgress",), "Bound", (), "its volume backup is InProgress"),
        ((), "Pending", (), "it was Pending when the backup was taken"),
        ((), "Bound", (), "no running pod mounted it when the backup was taken"),
        ((), None, (), "it is not in the backup"),
        ((), "Bound", ("staging/cache",), "no running pod mounted it when the backup was taken"),
    ],
)
def test_coverage(
    volumes: tuple[str, ...], phase: str | None, not_backed_up: tuple[str, ...], problem: str | None
) -> None:
    """Completed says nothing about a PVC; only its own completed volume backup does, or the site's word."""
    taken = backup("b", volumes=tuple(VolumeBackup(claim="production/cache", phase=p) for p in volumes))
    [found] = backups.coverage(taken, {"production/cache": phase}, not_backed_up)
    assert found.problem == problem


# -- what was restored ------------------------------------------------------------------------------------------------


def restored(restore: str | None, of: str | None = None) -> KubeObject:
    labels = {"velero.io/restore-name": restore, "velero.io/backup-name": of} if restore else {}
    body: dict[str, Any] = {"metadata": {"labels": labels}}
    return KubeObject(api_version="v1", kind="ConfigMap", name="c", uid="u", body=body)


@pytest.mark.parametrize(
    ("objects", "status", "observed"),
    [
        ([restored("r", "b"), restored(None)], "passed", "as planned, on 1 objects"),
        ([restored("r", "b"), restored("r", "other")], "failed", "restore r of backup other"),
        ([restored("x", "b")], "failed", "restore x of backup b"),
        ([restored(None)], "failed", "no object names a restore"),
        ([], "failed", "no object names a restore"),
    ],
)
def test_restored_from(objects: list[KubeObject], status: str, observed: str) -> None:
    """One object of another backup or restore turns it red, and so does silence."""
    check = backups.restored_from(objects, backup="b", restore="r")
    assert (check.status, check.observed) == (CheckStatus(status), observed)


def test_restored_from_a_long_name() -> None:
    """Velero shortens what does not fit into a label, and so do we."""
    name = "a-schedule-with-a-long-name-for-an-application-of-ours-20261123120000"
    assert backups.label(name) == "a-schedule-with-a-long-name-for-an-application-of-ours-20883582"
    assert len(backups.label(name)) == 63


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1m0s", 60), ("72h0m0s", 259_200), ("0s", 0), ("1h30m", 5_400), ("500ms", 0.5)]
)
def test_go_duration(text: str, seconds: float) -> None:
    """As Go writes durations."""
    assert backups.go_duration(text) == timedelta(seconds=seconds)

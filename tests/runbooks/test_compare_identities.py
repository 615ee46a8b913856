"""UIDs: new for what was deleted, kept by what survived."""

from __future__ import annotations

from datetime import UTC, datetime

from runbooks import compare
from runbooks.records import Difference, Snapshot
from tests.runbooks import shop
from tests.runbooks.shop import Body, Objects


def snapshot(objects: Objects, uid: str | None) -> Snapshot:
    return Snapshot(namespace="shop", uid=uid, taken_at=datetime(2026, 11, 23, tzinfo=UTC), objects=objects)


BEFORE = snapshot(shop.load("before"), "1")
AFTER = snapshot(shop.load("after"), "2")


def test_deleted_and_restored() -> None:
    """Everything of a real restored namespace is another object than before."""
    comparison = compare.identities(BEFORE, AFTER, deleted=True)
    assert comparison.differences == ()
    assert comparison.weakly_checked == ()
    assert comparison.compared >= 30


def test_left_over() -> None:
    """The deletion did not reach it: what looks restored is the old one."""
    survivor = shop.one(BEFORE.objects, "ConfigMap/web")
    after = (*shop.without(AFTER.objects, "ConfigMap/web"), survivor)
    [difference] = compare.identities(BEFORE, snapshot(after, "2"), deleted=True).differences
    assert difference == Difference(
        where="ConfigMap/web metadata.uid", expected="a new UID", observed=f"still {survivor.uid}"
    )


def test_namespace_left_over() -> None:
    """The namespace itself was never deleted."""
    where = [d.where for d in compare.identities(BEFORE, snapshot(AFTER.objects, "1"), deleted=True).differences]
    assert where == ["Namespace/shop metadata.uid"]


def test_survivors() -> None:
    """Nothing was touched, so everything is the same object; its pods may have been replaced."""
    [pod] = [o for o in BEFORE.objects if o.name == "queue-0"]

    def recreate(body: Body) -> None:
        body["metadata"]["uid"] = "another"

    after = shop.changed(BEFORE.objects, pod.label, recreate)
    assert compare.identities(BEFORE, snapshot(after, "1"), deleted=False).differences == ()


def test_survivor_recreated() -> None:
    """Something else than the planned object was deleted too."""
    after = shop.changed(BEFORE.objects, "Service/web", lambda b: b["metadata"].update(uid="another"))
    [difference] = compare.identities(BEFORE, snapshot(after, "1"), deleted=False).differences
    old = shop.one(BEFORE.objects, "Service/web").uid
    assert difference == Difference(where="Service/web metadata.uid", expected=str(old), observed="another")


def test_uid_not_known() -> None:
    """It is said, not taken for right."""
    weak = compare.identities(BEFORE, snapshot(AFTER.objects, None), deleted=True).weakly_checked
    assert weak == ("Namespace/shop: UID not known",)

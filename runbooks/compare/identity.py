"""UIDs: what was deleted must be another object now, what was not must be the same."""

from __future__ import annotations

from collections.abc import Iterator

from runbooks import rules
from runbooks.compare.comparison import Comparison
from runbooks.kube import Key, Side
from runbooks.records import Difference, KubeObject, Snapshot


def identities(before: Snapshot, after: Snapshot, *, deleted: bool) -> Comparison:
    """Every object that is in both: made anew if it was *deleted*, else still the one it was.

    What is in one of them only is found by `objects`. Among survivors those that a controller replaces at will are
    left out.
    """
    pairs = list(_pairs(before, after, deleted))
    known = [(label, old, new) for label, old, new in pairs if old and new]
    judge = _left_over if deleted else _replaced
    return Comparison(
        differences=tuple(d for label, old, new in known for d in judge(label, old, new)),
        weakly_checked=tuple(f"{label}: UID not known" for label, old, new in pairs if not (old and new)),
        compared=len(known),
    )


def _pairs(before: Snapshot, after: Snapshot, deleted: bool) -> Iterator[tuple[str, str, str]]:
    yield f"Namespace/{before.namespace}", before.uid or "", after.uid or ""
    old, new = Side(before.objects), Side(after.objects)
    for key, thing in old.by_key.items():
        if key in new.by_key and _is_meant(key, thing, old, deleted):
            yield thing.label, thing.uid or "", new.by_key[key].uid or ""


def _is_meant(key: Key, thing: KubeObject, side: Side, deleted: bool) -> bool:
    if not key.namespace or key.kind == "PodMetrics":
        return False
    return deleted or rules.object_reason(thing, side) is None


def _left_over(label: str, old: str, new: str) -> Iterator[Difference]:
    if old == new:
        yield Difference(where=f"{label} metadata.uid", expected="a new UID", observed=f"still {old}")


def _replaced(label: str, old: str, new: str) -> Iterator[Difference]:
    if old != new:
        yield Difference(where=f"{label} metadata.uid", expected=old, observed=new)

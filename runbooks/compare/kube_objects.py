"""Kubernetes objects: what the backup holds against what is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbooks import kube, rules
from runbooks.compare import fields
from runbooks.compare.comparison import ABSENT, MISSING, PRESENT, Comparison, Tally
from runbooks.conditions import Pair
from runbooks.kube import Key, Side
from runbooks.records import Difference, KubeObject


def objects(expected: Sequence[KubeObject], observed: Sequence[KubeObject]) -> Comparison:
    """Every object of either side against its counterpart, by the rules of `runbooks.rules`."""
    return _Objects(Side(expected), Side(observed)).comparison()


def loss(before: Sequence[KubeObject], backup: Sequence[KubeObject]) -> Comparison:
    """What a restore of *backup* cannot bring back as it was, or brings back although it was gone."""
    return objects(before, backup)


def held(started: Sequence[KubeObject], ended: Sequence[KubeObject], backup: Sequence[KubeObject]) -> Comparison:
    """What was equal when the backup began and when it had ended must be in it, like that.

    What came, went or changed in between may be in it in any form, or not; and Velero skips what is being deleted.
    """
    first, last, kept = Side(started).by_key, Side(ended).by_key, Side(backup).by_key
    seen = _Objects(Side(started), Side(ended))
    steady = {
        k: o for k, o in first.items()
        if k in last and o.uid == last[k].uid and not _is_going(o) and not any(seen.differences_at(k))
    }  # fmt: skip
    return objects([*steady.values(), *(o for k, o in kept.items() if k not in steady)], backup)


def _is_going(thing: KubeObject) -> bool:
    return kube.at(thing.body, "metadata", "deletionTimestamp") is not None


class _Objects:
    def __init__(self, expected: Side, observed: Side) -> None:
        self.expected, self.observed = expected, observed
        self.tally = Tally()
        self.weak: set[str] = set()
        self.compared = 0
        keys = expected.by_key.keys() | observed.by_key.keys()
        self.keys = sorted(keys, key=lambda k: (k.namespace, k.kind, k.name, k.group))
        self.is_one_namespace = len({k.namespace for k in keys if k.namespace}) <= 1

    def comparison(self) -> Comparison:
        found = [difference for key in self.keys for difference in self.differences_at(key)]
        return Comparison(
            differences=tuple(found),
            weakly_checked=tuple(sorted(self.weak)),
            compared=self.compared,
            ignored=self.tally.ignored(),
        )

    def differences_at(self, key: Key) -> Iterator[Difference]:
        expected, observed = self.expected.by_key.get(key), self.observed.by_key.get(key)
        label = self._label(key)
        reason = self._reason(expected, observed)
        if reason == rules.MADE_BY_OWNER and expected and observed and _was_left_by_its_owner(expected, observed):
            yield _difference(f"{label} metadata.ownerReferences", _owner(expected), _owner(observed))
        elif reason:
            self.tally.add(reason, label)
        elif expected and observed:
            self.compared += 1
            yield from self._in(expected, observed, label)
        elif kube.is_cluster_scoped(key):
            self.weak.add(f"{label}: belongs to the cluster, not compared")
        else:
            self.compared += 1
            yield _difference(label, *((PRESENT, MISSING) if expected else (ABSENT, PRESENT)))

    def _reason(self, expected: KubeObject | None, observed: KubeObject | None) -> str | None:
        """Why the pair is not compared; what is expected decides, if there is such a thing."""
        if expected:
            return rules.object_reason(expected, self.expected)
        return rules.object_reason(observed, self.observed) if observed else None

    def _in(self, expected: KubeObject, observed: KubeObject, label: str) -> Iterator[Difference]:
        kind = kube.kind(expected)
        if kind not in rules.KNOWN:
            self.weak.add(_weakly(expected, observed))
        pair = Pair(expected.body, observed.body, self.expected)

        def may_differ(place: fields.Place) -> bool:
            reason = rules.field_reason(kind, place.segments, pair)
            if reason:
                self.tally.add(reason, f"{label} {place.shown}")
            return reason is not None

        eyes = fields.Eyes(may_differ, lambda path: rules.is_unordered(kind, path))
        for found in fields.differences(expected.body, observed.body, eyes):
            secret = fields.may_be_secret(kind, found.place.segments)
            yield _difference(f"{label} {found.place.shown}", *fields.spell(found, secret=secret))

    def _label(self, key: Key) -> str:
        label = f"{key.kind}/{key.name}"
        return label if self.is_one_namespace or not key.namespace else f"{key.namespace}: {label}"


def _difference(where: str, expected: str, observed: str) -> Difference:
    return Difference(where=where, expected=expected, observed=observed)


def _was_left_by_its_owner(expected: KubeObject, observed: KubeObject) -> bool:
    """A restore by selector brings back pods and ReplicaSets without what owned them; they run, and nothing keeps them.

    Not so for Jobs: Velero restores an unfinished one without its CronJob, and it ends by itself.
    """
    owner = kube.owner(expected)
    of_job = expected.kind == "Job" or (owner is not None and owner.kind == "Job")
    return kube.owner(observed) is None and not of_job


def _owner(thing: KubeObject) -> str:
    owner = kube.owner(thing)
    return f"{owner.kind}/{owner.name}" if owner else ABSENT


def _weakly(expected: KubeObject, observed: KubeObject) -> str:
    names = (expected.body.keys() | observed.body.keys()) - {"apiVersion", "kind", "metadata", "status"}
    version = expected.api_version.rpartition("/")[2]
    return f"{kube.kind(expected)}/{version}: only {', '.join(sorted(names)) or 'its existence'} compared"

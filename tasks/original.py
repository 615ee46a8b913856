"""A sandbox that touches the original is none: the proof that it was left alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runbooks import compare, kube
from runbooks.kube import at, items, table
from runbooks.records import Check, CheckStatus, KubeObject, Snapshot, State
from tasks import cluster_state, made, validation
from tasks import sandbox as sandboxes
from tasks.cases import Case
from tasks.clients.kubernetes import Api
from tasks.digests import hmac_key
from tasks.namespaces import NAMESPACE
from tasks.steps import step

VOLUME = ("v1", "PersistentVolume")
VELERO = "velero"
CLUSTERS_OWN = "kube-"


@step
def prove_untouched(case: Case) -> None:
    """The original is the one it was: UIDs, generations, contents, volumes, and nobody of us wrote to it. With that
    every check is made (clock `validated`).

    Raises:
        NotRecovered: a check of the copy or of the original is not green.
    """
    compare_with_before(case)
    case.must_be_green()
    case.clock("validated")


def look_again(case: Case) -> None:
    """The original is as it was also after the sandbox was removed: of each check the later one counts."""
    if case.recorded("original.prove_untouched") is not None:
        compare_with_before(case)


def compare_with_before(case: Case) -> None:
    """Records state and checks; a second time the later checks count."""
    before, key = case.load("before", State), hmac_key(case)
    with case.connect() as api:
        ours = _managers(case, api)
        now = tuple(cluster_state.snapshot(api, s.namespace, key) for s in before.namespaces)
        volumes = list(_volumes_of(case, api))
    case.save(
        "after", before.model_copy(update={"taken_at": now[0].taken_at, "namespaces": now, "files": (), "rows": ()})
    )
    for old, new in zip(before.namespaces, now, strict=True):
        name = f"namespace {old.namespace} of the original"
        validation.note(case, f"objects of {name}", "as before", compare.objects(old.objects, new.objects))
        validation.note(case, f"UIDs in {name}", "the same", compare.identities(old, new, deleted=False))
        case.checks([_generations(name, old, new), _writes(name, old, new, ours)])
    case.checks(volumes)


def _managers(case: Case, api: Api) -> frozenset[str]:
    """As whom our own writes are recorded: read off the namespace that this run made."""
    found = (made.find(api, NAMESPACE, name) for name in sandboxes.names(case).values())
    told = {str(table(m).get("manager")) for n in found if n for m in items(n["metadata"].get("managedFields"))}
    return frozenset(m for m in told if not m.startswith(CLUSTERS_OWN))


def _generations(name: str, old: Snapshot, new: Snapshot) -> Check:
    now = {(o.kind, o.uid): at(o.body, "metadata", "generation") for o in new.objects}
    changed = [
        o.label
        for o in old.objects
        if kube.owner(o) is None and now.get((o.kind, o.uid), (was := at(o.body, "metadata", "generation"))) != was
    ]
    return _check(f"generations in {name}", "as before", changed)


def _writes(name: str, old: Snapshot, new: Snapshot, ours: frozenset[str]) -> Check:
    """By the fields' managers: whoever writes to an object is recorded in it, with the time."""
    known = {(o.kind, o.uid): list(_entries(o)) for o in old.objects}
    bad = [
        f"{o.label} by {manager}"
        for o in new.objects
        for manager, entry in _entries(o)
        if (manager in ours or manager.startswith(VELERO)) and (manager, entry) not in known.get((o.kind, o.uid), ())
    ]
    return _check(f"writes by this run or Velero in {name}", "none", bad)


def _entries(thing: KubeObject) -> Iterator[tuple[str, str]]:
    for entry in map(table, items(at(thing.body, "metadata", "managedFields"))):
        yield str(entry.get("manager")), repr(sorted(entry.items()))


def _volumes_of(case: Case, api: Api) -> Iterator[Check]:
    """Those that were pinned when the run began, each still bound to the original."""
    for name, uid in _pinned(case).items():
        found = made.find(api, VOLUME, name)
        claim = at(found or {}, "spec", "claimRef", "namespace")
        bad = found is None or found["metadata"]["uid"] != uid or claim not in case.application.namespaces
        yield _check(f"volume {name} of the original", "the same, bound to it", [str(claim)] if bad else [])


def _pinned(case: Case) -> dict[str, str]:
    for entry in case.journal.of("application"):
        volumes = table(table(entry.data.get("target")).get("volumes"))
        if volumes:
            return {name: str(uid) for name, uid in volumes.items()}
    return {}


def _check(name: str, expected: str, bad: Iterable[str]) -> Check:
    told = ", ".join(bad)
    status = CheckStatus.FAILED if told else CheckStatus.PASSED
    return Check(name=name, expected=expected, observed=told[:500] or expected, status=status)

"""deployments/server/rbac.yaml grants exactly what runs need: each right is taken away in turn, and each is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from runbooks.records import BackupState, RunKind
from runbooks.site import Cluster
from tasks import rights
from tests.drills.stage import Stage, stage
from tests.fakes import seed
from tests.fakes.fake_world import Request, World
from tests.fakes.routes import parse
from tests.zygote import Zygote

REFUSED = 3
LEASES = "/apis/coordination.k8s.io/v1/namespaces/dr-runbooks/leases"
OURS = tuple(rights.Role)
OF_A_REAL_DRILL = rights.ROLES[RunKind.DRILL]
WITH_DEFAULTS = Cluster(kubeconfig=None, uid="any", ca_sha256="any")
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Granted(NamedTuple):
    """One verb on one resource, as a role of rbac.yaml grants it; `namespace` empty: everywhere."""

    role: str
    namespace: str
    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.role}: {self.verb} {self.resource}{'.' + self.group if self.group else ''} {self.namespace}"


def roles() -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(seed.RBAC.read_text()) if one["kind"] in ("ClusterRole", "Role")]


def granted() -> Iterator[Granted]:
    for role in roles():
        meta = role["metadata"]
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        yield Granted(meta["name"], meta.get("namespace", ""), group, resource, verb)


def without(taken: Granted) -> dict[str, Any]:
    """The role without that one right."""
    [role] = [r for r in roles() if (r["metadata"]["name"], r["metadata"].get("namespace", "")) == taken[:2]]
    rules = []
    for rule in role["rules"]:
        for resource in rule["resources"]:
            verbs = [v for v in rule["verbs"] if (taken.resource, taken.verb) != (resource, v)]
            hit = taken.group in rule["apiGroups"]
            rules.append({**rule, "resources": [resource], "verbs": verbs if hit else rule["verbs"]})
    return {**role, "rules": [rule for rule in rules if rule["verbs"]]}


def write(world: World, role: dict[str, Any]) -> None:
    path = f"{seed.path(role)}/{role['metadata']['name']}"
    world.api("PATCH", path, {"rules": role["rules"]}, kind="application/merge-patch+json")


@pytest.fixture(scope="module")
def theatre(forks: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One world for all that only gets as far as a refusal; of the roles only those of a real drill grant anything."""
    with stage(forks, tmp_path_factory.mktemp("rights")) as made:
        for role in roles():
            if role["metadata"]["name"] not in OF_A_REAL_DRILL:  # some grant the same for other kinds of run
                write(made.world, {**role, "rules": []})
        yield made


def test_table_is_what_the_file_grants() -> None:
    """Role by role and verb by verb; a right that stands in one of the two only fails here."""
    namespaces = {rights.Where.EVERYWHERE: "", rights.Where.VELERO: "velero", rights.Where.OURS: "dr-runbooks"}
    table = {
        (str(need.role), namespaces[need.where], right.resource, right.verb)
        for need in rights.NEEDS
        for right in need.rights(WITH_DEFAULTS)
    }
    file = {
        (g.role, g.namespace, f"{g.resource}.{g.group}" if g.group else g.resource, g.verb)
        for g in granted()
        if g.role in OURS
    }
    assert table == file


@pytest.mark.parametrize("taken", [g for g in granted() if g.role in OF_A_REAL_DRILL], ids=str)
def test_right_taken_away(theatre: Stage, taken: Granted) -> None:
    """The drill is refused before the break, the right that is missing is named, and where to get it."""
    uid, run_id = theatre.namespace_uid(), f"r{len(theatre.children)}"
    [whole] = [r for r in roles() if (r["metadata"]["name"], r["metadata"].get("namespace", "")) == taken[:2]]
    write(theatre.world, without(taken))
    try:
        child = theatre.start(run_id)
        assert child.wait() == REFUSED, child.output[-3000:]
    finally:
        write(theatre.world, whole)
        let_go(theatre.world)
    last = child.output[child.output.index("REFUSED") :]
    assert taken.verb in last
    assert taken.resource in last
    assert "rbac.yaml" in last
    theatre.untouched(uid)
    assert theatre.report(run_id).verdict == "refused"


def let_go(world: World) -> None:
    """Without the right to patch its Lease a run cannot release it, and the next one would be refused for that."""
    for lease in world.api("GET", LEASES)["items"]:
        world.api("DELETE", f"{LEASES}/{lease['metadata']['name']}")


def used(world: World, user: str) -> set[tuple[str, str, str, str]]:
    """Namespace, group, resource and verb of all that *user* was allowed."""
    found = set()
    for one in world.requests():
        if one.server == "kubernetes" and one.user == user and one.status not in (None, 403):
            found |= set(_asked(one))
    return found


def _asked(one: Request) -> Iterator[tuple[str, str, str, str]]:
    if "/namespaces" not in one.path and one.path.count("/") < 4:
        return  # discovery
    target = parse(one.path, one.query)
    resource = f"{target.resource.plural}/{target.subresource}" if target.subresource else target.resource.plural
    reading = "get" if target.name else "watch" if target.ask("watch") else "list"
    for verb in {VERBS.get(one.method, reading), "create" if target.subresource == "exec" else ""} - {""}:
        yield target.namespace or "", target.resource.group, resource, verb


def unused(seen: set[tuple[str, str, str, str]], names: tuple[str, ...]) -> list[str]:
    def is_used(g: Granted) -> bool:
        return any(
            (not g.namespace or g.namespace == namespace)
            and g.group in ("*", group)
            and g.resource in ("*", resource)
            and g.verb == verb
            for namespace, group, resource, verb in seen
        )

    return [str(g) for g in granted() if g.role in names and not is_used(g)]


def test_no_right_is_superfluous(forks: Zygote, tmp_path: Path) -> None:
    """A drill that passes and one that needs its net use every right there is; so would none be missed."""
    with stage(forks, tmp_path, download_seconds=0.3) as drill:
        child = drill.start("passes")
        assert child.wait(120) == 0, child.output[-3000:]
        fault = drill.world.fault("hang", method="POST", path="/restores$", user="runner")
        child = drill.start("fails", "--backup", "orders-first")  # one whose files are recorded for sure
        drill.world.wait_until_held(fault, 60)
        drill.world.set(restore_phase="Failed")
        drill.world.release()
        drill.wait_for("fails", child, lambda e: e.kind == "net", seconds=60)
        drill.world.set(restore_phase="Completed")
        assert child.wait(120) == 1, child.output[-3000:]
        assert drill.report("fails").service == "back"
        assert unused(used(drill.world, "runner"), OF_A_REAL_DRILL) == []


def test_observer_under_its_own_account(forks: Zygote, tmp_path: Path) -> None:
    """It records the files of a backup with the rights of its role, and uses all of them; objects take the reader's."""
    with stage(forks, tmp_path) as drill:
        text = drill.site.file.read_text()
        text = text.replace(str(drill.world.runner_kubeconfig), str(drill.world.observer_kubeconfig))
        drill.site.file.write_text(text.replace(f"{drill.site.file.parent}/observer", str(tmp_path / "second")))
        drill.dr("observe", "--site", "lab")
        looked = ("velero", "velero.io", "backups", "list")
        drill.world.wait(lambda: looked in used(drill.world, "observer"), "the observer looking for backups", 30)
        drill.world.set(queue_seconds=1.5)
        seed.back_up(drill.world, "orders-watched")
        record = tmp_path / "second" / "backups" / "orders-watched.json"
        drill.world.wait(record.exists, "the observer's record of the backup", 30)
        assert unused(used(drill.world, "observer"), ("dr-runbooks-observer",)) == []
        assert BackupState.model_validate_json(record.read_text()).objects("production") is None


def test_site_check_names_what_is_missing(theatre: Stage) -> None:
    """By scenario and kind of run: without the breaker's role incidents can be recovered, drills cannot be done."""
    taken = next(g for g in granted() if (g.role, g.verb) == ("dr-runbooks-breaker", "delete"))
    [whole] = [r for r in roles() if r["metadata"]["name"] == taken.role]
    write(theatre.world, without(taken))
    try:
        check = theatre.dr("site", "check", "--site", "lab", "--json")
        assert check.wait() == 1
    finally:
        write(theatre.world, whole)
    found = {one["check"]: one for one in json.loads(check.output[check.output.index("[") :])}
    assert found["rights orders namespace-deletion incident"]["status"] == "passed"
    drill = found["rights orders namespace-deletion drill"]
    assert drill["status"] == "failed"
    assert (
        "may not: delete namespaces (HINT: bind dr-runbooks-breaker of deployments/server/rbac.yaml"
        in drill["observed"]
    )

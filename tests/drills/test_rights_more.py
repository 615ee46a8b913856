"""Rights of sandboxes and of plans that mend: each taken away in turn, and each used."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runbooks.records import RunKind
from tasks import rights
from tests.drills import test_incident as incidents
from tests.drills import test_sandbox as sandboxes
from tests.drills.stage import SCENARIO, Stage, stage
from tests.drills.test_rights import Granted, granted, let_go, roles, unused, used, without, write
from tests.fakes.fake_world import World
from tests.zygote import Zygote

SANDBOX = str(rights.Role.SANDBOX)
OF_A_SANDBOX = tuple(map(str, rights.ROLES[RunKind.SANDBOX]))
OF_AN_INCIDENT = (*map(str, rights.ROLES[RunKind.INCIDENT]), rights.MENDER)
REFUSED = 3


def only(world: World, names: tuple[str, ...]) -> None:
    """No other role grants anything: some grant the same for other kinds of run."""
    for role in roles():
        if role["metadata"]["name"] not in names:
            write(world, {**role, "rules": []})


def of(role: str, *others: str) -> list[Granted]:
    """What *role* grants, and none of the *others* does."""
    same = {(g.namespace, g.group, g.resource, g.verb) for g in granted() if g.role in others}
    return [g for g in granted() if g.role == role and (g.namespace, g.group, g.resource, g.verb) not in same]


def taken_away(made: Stage, taken: Granted, *argv: str) -> str:
    """What a run without that right says when it is refused."""
    [whole] = [r for r in roles() if (r["metadata"]["name"], r["metadata"].get("namespace", "")) == taken[:2]]
    write(made.world, without(taken))
    try:
        child = made.dr("run", SCENARIO, "--site", "lab", "--run-id", f"r{len(made.children)}", *argv)
        assert child.wait() == REFUSED, child.output[-3000:]
    finally:
        write(made.world, whole)
        let_go(made.world)
    return child.output[child.output.index("REFUSED") :]


# -- sandbox ----------------------------------------------------------------------------------------------------------


STARTS = Granted(SANDBOX, "", "", "pods", "delete")
"""Of a site that starts the application in its sandboxes; the lab's is one."""


@pytest.fixture(scope="module")
def theatre(forks: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(forks, tmp_path_factory.mktemp("sandbox")) as made:
        sandboxes.allow(made)
        only(made.world, OF_A_SANDBOX)
        yield made


@pytest.mark.parametrize("taken", of(SANDBOX, "dr-runbooks-runner"), ids=str)
def test_right_of_a_sandbox_taken_away(theatre: Stage, taken: Granted) -> None:
    """Refused before a namespace is made; the right is named, and the role that grants it."""
    text = theatre.site.file.read_text()
    if taken == STARTS:
        sandboxes.want_it_started(theatre)
    try:
        said = taken_away(theatre, taken, *sandboxes.SANDBOX)
    finally:
        theatre.site.file.write_text(text)
    assert taken.verb in said
    assert taken.resource in said
    assert f"bind {SANDBOX} of deployments/server/rbac.yaml" in said
    sandboxes.is_removed(theatre)


def test_every_right_of_a_sandbox_is_used(theatre: Stage) -> None:
    """With them it passes, and none is superfluous: a volume that its class would keep is removed, too. One is asked
    for only where the application is started."""
    fault = theatre.world.fault("hang", method="DELETE", path="/namespaces/sandbox-", user="runner")
    child = theatre.dr("run", SCENARIO, "--site", "lab", "--run-id", "uses", *sandboxes.SANDBOX)
    theatre.world.wait_until_held(fault, 60)
    for volume in theatre.world.api("GET", "/api/v1/persistentvolumes")["items"]:
        if volume["spec"]["claimRef"]["namespace"] == "sandbox-uses":
            name, kept = volume["metadata"]["name"], {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
            theatre.world.patch(f"/api/v1/persistentvolumes/{name}", kept)
    theatre.world.release()
    assert child.wait(90) == 0, child.output[-3000:]
    sandboxes.is_removed(theatre)
    assert unused(used(theatre.world, "runner"), (SANDBOX,)) == [str(STARTS)]


# -- plans that mend --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mess(forks: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A namespace that is there but wrong, and controllers of all three kinds at work on it."""
    with stage(forks, tmp_path_factory.mktemp("mess")) as made:
        incidents.make_controllers(made)
        made.world.patch(incidents.DEPLOYMENT, {"spec": {"replicas": 0}})
        incidents.wait_until_red(made)
        only(made.world, OF_AN_INCIDENT)
        yield made


CONSENT = ("--consent", "set-aside", "--consent", "pause-gitops")
PLANNED = [g for g in of(rights.MENDER) if not g.namespace]  # a hanging node agent is in nobody's plan


@pytest.mark.parametrize("taken", PLANNED, ids=str)
def test_right_of_a_plan_taken_away(mess: Stage, taken: Granted) -> None:
    """It is asked for as soon as the plan is known: refused, nothing changed, the right and its role are named."""
    said = taken_away(mess, taken, *incidents.INCIDENT, *CONSENT)
    assert f"{taken.verb} {taken.resource}" in said
    assert f"bind {rights.MENDER} of deployments/server/rbac.yaml" in said
    assert incidents.changes(mess) == []


def test_right_to_free_what_holds_a_namespace(drill: Stage) -> None:
    """Which object will hold it nobody knows beforehand: the right on its kind is named, to be granted for once."""
    incidents.hold(drill)
    child = incidents.incident(drill, "held", "--consent", "remove-finalizers")
    incidents.is_refused(drill, "held", child, "patch configmaps", "is granted for this incident alone")


def test_every_right_of_a_plan_is_used(mess: Stage) -> None:
    """With them it is set aside and comes back, and none is superfluous."""
    incidents.is_back(mess, "uses", incidents.incident(mess, "uses", *CONSENT))
    idle = unused(used(mess.world, "runner"), (rights.MENDER,))
    assert idle == ["dr-runbooks-mender: delete pods velero"]

"""What the fake API server and the real one do alike: objects, refusals, lists, watches."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.contract.client import JSON_PATCH, MERGE
from tests.contract.conftest import Ground
from tests.contract.looks import config_map

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def test_discovery(ground: Ground) -> None:
    """Resources carry verbs; subresources have a slash in their name; what cannot be listed says so."""
    core = {one["name"]: one for one in ground.client.get("/api/v1")["resources"]}
    assert {"get", "list", "watch", "create", "delete", "patch"} <= set(core["configmaps"]["verbs"])
    assert core["pods"]["namespaced"]
    assert not core["namespaces"]["namespaced"]
    assert "deletecollection" not in core["namespaces"]["verbs"]
    assert core["bindings"]["verbs"] == ["create"]
    assert core["pods/exec"]["kind"]
    assert core["pods"]["shortNames"] == ["po"]
    groups = {one["name"]: one["preferredVersion"]["groupVersion"] for one in ground.client.get("/apis")["groups"]}
    assert {"apps", "batch", "policy", "velero.io", "events.k8s.io", "discovery.k8s.io"} <= set(groups)
    velero = ground.client.get(f"/apis/{groups['velero.io']}")["resources"]
    assert {"backups", "restores", "downloadrequests", "podvolumebackups"} <= {one["name"] for one in velero}
    assert "backups/status" not in {one["name"] for one in velero}, "Velero's status is written like any field"


def test_nobody(ground: Ground) -> None:
    """Without a valid token: 401 and a Status."""
    answer = ground.client.ask_as("nobody", "/api/v1/namespaces")
    assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")


def test_created(ground: Ground, maps: str) -> None:
    """201 with what the server adds; a second time 409 AlreadyExists."""
    made = ground.client.expect(201, "POST", maps, config_map("created", a="1"))
    meta = made["metadata"]
    assert (made["kind"], made["apiVersion"]) == ("ConfigMap", "v1")
    assert meta["uid"]
    assert int(meta["resourceVersion"])
    assert meta["creationTimestamp"].endswith("Z")
    assert meta["managedFields"]
    assert "generation" not in meta
    again = ground.client.expect(409, "POST", maps, config_map("created"))
    assert (again["kind"], again["status"], again["reason"], again["code"]) == (
        "Status",
        "Failure",
        "AlreadyExists",
        409,
    )
    assert again["message"] == 'configmaps "created" already exists'
    assert again["details"] == {"name": "created", "kind": "configmaps"}


def test_missing(ground: Ground, maps: str) -> None:
    """404 NotFound, for objects, for namespaces of new objects, and for kinds."""
    answer = ground.client.expect(404, "GET", f"{maps}/missing")
    assert (answer["reason"], answer["details"]) == ("NotFound", {"name": "missing", "kind": "configmaps"})
    nowhere = ground.client.expect(404, "POST", "/api/v1/namespaces/no-such/configmaps", config_map("a"))
    assert nowhere["message"] == 'namespaces "no-such" not found'
    ground.client.expect(404, "DELETE", f"{maps}/missing")
    assert ground.client.ask("GET", "/apis/no.such.group/v1/things").status_code == 404
    deployment = ground.client.expect(
        404, "GET", maps.replace("/api/v1", "/apis/apps/v1").replace("configmaps", "deployments/x")
    )
    assert deployment["details"] == {"name": "x", "group": "apps", "kind": "deployments"}


def test_invalid(ground: Ground, maps: str) -> None:
    """422 Invalid with the field that is wrong; 400 for what is not an object of this kind."""
    answer = ground.client.expect(422, "POST", maps, config_map("Not_A_Name"))
    assert answer["reason"] == "Invalid"
    assert answer["details"]["causes"][0]["field"] == "metadata.name"
    assert answer["details"]["kind"] == "ConfigMap"
    wrong = config_map("wrong") | {"kind": "Secret", "apiVersion": "v1"}
    assert ground.client.expect(400, "POST", maps, wrong)["reason"] == "BadRequest"


def test_patched(ground: Ground, maps: str) -> None:
    """A merge patch changes what it names, null removes, and nothing to change is no new version."""
    made = ground.client.expect(201, "POST", maps, config_map("patched", a="1", b="2"))
    patched = ground.client.expect(200, "PATCH", f"{maps}/patched", {"data": {"a": None, "c": "3"}}, kind=MERGE)
    assert patched["data"] == {"b": "2", "c": "3"}
    assert patched["metadata"]["uid"] == made["metadata"]["uid"]
    assert int(patched["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    same = ground.client.expect(200, "PATCH", f"{maps}/patched", {"data": {"c": "3"}}, kind=MERGE)
    assert same["metadata"]["resourceVersion"] == patched["metadata"]["resourceVersion"]


def test_json_patched(ground: Ground, maps: str) -> None:
    """Tested values first; a test that fails is 422 and changes nothing."""
    ground.client.expect(201, "POST", maps, config_map("json-patched", a="1"))
    where = f"{maps}/json-patched"
    wrong = [{"op": "test", "path": "/data/a", "value": "2"}, {"op": "remove", "path": "/data/a"}]
    refused = ground.client.expect(422, "PATCH", where, wrong, kind=JSON_PATCH)
    assert refused["reason"] == "Invalid"
    right = [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "2"},
             {"op": "add", "path": "/metadata/labels/a~1b", "value": "c"}]  # fmt: skip
    patched = ground.client.expect(200, "PATCH", where, right, kind=JSON_PATCH)
    assert (patched["data"], patched["metadata"]["labels"]["a/b"]) == ({"a": "2"}, "c")
    missing = [{"op": "remove", "path": "/data/none"}]
    assert ground.client.expect(422, "PATCH", where, missing, kind=JSON_PATCH)["code"] == 422


def test_conflicting_version(ground: Ground, maps: str) -> None:
    """An update or a patch that names an old version is 409 Conflict."""
    made = ground.client.expect(201, "POST", maps, config_map("conflict", a="1"))
    old = made["metadata"]["resourceVersion"]
    ground.client.expect(200, "PATCH", f"{maps}/conflict", {"data": {"a": "2"}}, kind=MERGE)
    refused = ground.client.expect(409, "PUT", f"{maps}/conflict", made)
    assert (refused["reason"], refused["details"]["name"]) == ("Conflict", "conflict")
    patch = {"metadata": {"resourceVersion": old}, "data": {"a": "3"}}
    assert ground.client.expect(409, "PATCH", f"{maps}/conflict", patch, kind=MERGE)["reason"] == "Conflict"
    assert ground.client.get(f"{maps}/conflict")["data"] == {"a": "2"}


def test_deleted_by_uid(ground: Ground, maps: str) -> None:
    """Another UID is 409 Conflict and deletes nothing; the right one answers with a Status."""
    made = ground.client.expect(201, "POST", maps, config_map("deleted"))
    uid = made["metadata"]["uid"]
    wrong = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    refused = ground.client.expect(409, "DELETE", f"{maps}/deleted", wrong)
    assert refused["reason"] == "Conflict"
    assert uid in refused["message"]
    done = ground.client.expect(200, "DELETE", f"{maps}/deleted", {"preconditions": {"uid": uid}})
    assert (done["kind"], done["status"]) == ("Status", "Success")
    assert done["details"] == {"name": "deleted", "kind": "configmaps", "uid": uid}
    assert ground.client.gone(f"{maps}/deleted")


def test_dry_run(ground: Ground, maps: str) -> None:
    """It is checked, answered, and not done."""
    made = ground.client.expect(201, "POST", maps, config_map("dry", a="1"), dryRun="All")
    assert made["metadata"]["uid"]
    assert ground.client.gone(f"{maps}/dry")
    ground.client.expect(422, "POST", maps, config_map("Not_A_Name"), dryRun="All")
    ground.client.expect(201, "POST", maps, config_map("wet"))
    ground.client.expect(200, "DELETE", f"{maps}/wet", dryRun="All")
    assert not ground.client.gone(f"{maps}/wet")


def test_listed(ground: Ground, namespace: str, maps: str) -> None:
    """By labels and fields, by pages; items of built-in lists do not name their kind, custom ones do."""
    for number in range(3):
        labels = {"number": str(number), "listed": "yes"}
        ground.client.expect(201, "POST", maps, {"metadata": {"name": f"list-{number}", "labels": labels}})

    def names(**query: Any) -> list[str]:
        return [one["metadata"]["name"] for one in ground.client.get(maps, **query)["items"]]

    found = ground.client.get(maps, labelSelector="listed=yes")
    assert found["kind"] == "ConfigMapList"
    assert int(found["metadata"]["resourceVersion"])
    assert "kind" not in found["items"][0]
    assert names(labelSelector="listed=yes") == ["list-0", "list-1", "list-2"]
    assert names(labelSelector="number in (0, 2),listed") == ["list-0", "list-2"]
    assert names(labelSelector="listed,number!=1") == ["list-0", "list-2"]
    assert names(labelSelector="listed,number notin (0,1)") == ["list-2"]
    assert names(fieldSelector="metadata.name=list-1") == ["list-1"]
    page = ground.client.get(maps, labelSelector="listed=yes", limit=2)
    rest = ground.client.get(maps, labelSelector="listed=yes", limit=2, **{"continue": page["metadata"]["continue"]})
    assert [len(page["items"]), len(rest["items"])] == [2, 1]
    locations = ground.client.get("/apis/velero.io/v1/namespaces/velero/backupstoragelocations")
    assert locations["items"][0]["kind"] == "BackupStorageLocation"
    assert ground.client.get("/apis/velero.io/v1/restores", labelSelector="none=such")["items"] == []


def test_watched(ground: Ground, maps: str) -> None:
    """From a version on: what happened since, in order, each with the version it made; others are not shown."""
    version = ground.client.get(maps)["metadata"]["resourceVersion"]
    for name in ("watched", "other"):
        ground.client.expect(201, "POST", maps, config_map(name, a="1"))
    ground.client.expect(200, "PATCH", f"{maps}/watched", {"data": {"a": "2"}}, kind=MERGE)
    ground.client.expect(200, "DELETE", f"{maps}/watched")
    where = {"resourceVersion": version, "fieldSelector": "metadata.name=watched"}
    with ground.client.watching(maps, **where) as events:
        seen = [next(events) for _ in range(3)]
    assert [one["type"] for one in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert [one["object"]["data"]["a"] for one in seen] == ["1", "2", "2"]
    versions = [int(one["object"]["metadata"]["resourceVersion"]) for one in seen]
    assert versions == sorted(set(versions))
    assert seen[0]["object"]["kind"] == "ConfigMap"


def test_watched_from_the_present(ground: Ground, maps: str) -> None:
    """Without a version it begins with what is there; it ends by itself after timeoutSeconds."""
    ground.client.expect(201, "POST", maps, config_map("present"))
    began = time.monotonic()
    with ground.client.watching(maps, fieldSelector="metadata.name=present", timeoutSeconds=1) as events:
        seen = [one["type"] for one in events]
    assert seen == ["ADDED"]
    assert 0.5 < time.monotonic() - began < 10


def test_selected_while_watched(ground: Ground, maps: str) -> None:
    """An object that gets the label is ADDED, one that loses it DELETED."""
    ground.client.expect(201, "POST", maps, config_map("moving"))
    version = ground.client.get(maps)["metadata"]["resourceVersion"]
    for label in ("in", None):
        ground.client.expect(200, "PATCH", f"{maps}/moving", {"metadata": {"labels": {"side": label}}}, kind=MERGE)
    with ground.client.watching(maps, resourceVersion=version, labelSelector="side=in") as events:
        assert [next(events)["type"] for _ in range(2)] == ["ADDED", "DELETED"]

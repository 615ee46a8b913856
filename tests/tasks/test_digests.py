"""No value of a Secret or ConfigMap leaves the process, and equal ones stay equal."""

from __future__ import annotations

import base64
import json
from typing import Any

from tasks import digests

KEY = b"a key of the site"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def body(kind: str, **members: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "uid": "u"}, **members}


def test_secret() -> None:
    """Neither the value nor its base64 is in the record; which keys there are is."""
    found = digests.kube_object(body("Secret", data={"TOKEN": base64_of("s3cret")}, type="Opaque"), KEY)
    text = found.model_dump_json()
    assert "s3cret" not in text
    assert base64_of("s3cret") not in text
    data = found.body["data"]
    assert isinstance(data, dict)
    assert str(data["TOKEN"]).startswith("hmac:")
    assert found.body["type"] == "Opaque"


def test_last_applied() -> None:
    """What kubectl keeps of a Secret in an annotation is one of its values, too."""
    kept = json.dumps({"stringData": {"TOKEN": "s3cret"}})
    secret = body("Secret", data={})
    secret["metadata"]["annotations"] = {LAST_APPLIED: kept, "team": "shop"}
    found = digests.digested(secret, KEY)
    assert "s3cret" not in json.dumps(found)
    assert found["metadata"]["annotations"]["team"] == "shop"


def test_original_is_left_alone() -> None:
    """The object that was given is not changed."""
    secret = body("Secret", data={"TOKEN": base64_of("s3cret")})
    digests.digested(secret, KEY)
    assert secret["data"] == {"TOKEN": base64_of("s3cret")}


def test_equal_values() -> None:
    """Equal in text and in base64; another value, or another key of the site, is another digest."""
    values = digests.digested(
        body("ConfigMap", data={"a": "blue", "b": "red"}, binaryData={"c": base64_of("blue")}), KEY
    )
    assert values["data"]["a"] == values["binaryData"]["c"]
    assert values["data"]["a"] != values["data"]["b"]
    other = digests.digested(body("ConfigMap", data={"a": "blue"}), b"another key")
    assert values["data"]["a"] != other["data"]["a"]


def test_other_kinds() -> None:
    """They are kept as they are."""
    service = body("Service", spec={"selector": {"app": "orders"}})
    assert digests.digested(service, KEY) == service


def deployment(**container: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "api", "image": "registry.example/api:1", **container}]}}
    return {**body("Deployment", spec={"template": template}), "apiVersion": "apps/v1"}


def container_of(found: dict[str, Any]) -> dict[str, Any]:
    one: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return one


def test_secret_in_an_environment_variable() -> None:
    """Hidden by its name, and equal ones stay equal; where it comes from, and what is no secret, stays readable."""
    reference = {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
    env = [{"name": "API_TOKEN", "value": "s3cret"}, {"name": "COLOR", "value": "blue"}, reference]
    found = container_of(digests.digested(deployment(env=env), KEY))
    assert found["env"][1:] == env[1:]
    assert found["env"][0]["value"].startswith("hmac:")
    other = digests.digested(deployment(env=[{"name": "API_TOKEN", "value": "an0ther"}]), KEY)
    assert container_of(other)["env"][0] != found["env"][0]
    assert container_of(digests.digested(deployment(env=env), KEY)) == found


def test_password_in_an_address_and_in_an_argument() -> None:
    """The rest of them stays readable."""
    env = [{"name": "DATABASE_URL", "value": "postgres://orders:s3cret@db.example:5432/orders"}]
    found = json.dumps(digests.digested(deployment(env=env, args=["--port=80", "--password=s3cret"]), KEY))
    assert "s3cret" not in found
    assert "@db.example:5432/orders" in found
    assert "--port=80" in found


def test_secret_in_a_custom_resource() -> None:
    """Members that are named so; a built-in kind's references are not touched."""
    custom = {**body("Coupon", spec={"percent": 10, "apiKey": "s3cret", "secretName": "coupons"})}
    found = digests.digested({**custom, "apiVersion": "shop.example/v1"}, KEY)
    assert found["spec"]["percent"] == 10
    assert found["spec"]["secretName"] == "coupons"
    assert "s3cret" not in json.dumps(found)


def test_last_applied_of_any_kind() -> None:
    """kubectl keeps the whole object there, with whatever stands in it."""
    one = deployment()
    one["metadata"]["annotations"] = {LAST_APPLIED: json.dumps({"env": [{"name": "TOKEN", "value": "s3cret"}]})}
    assert "s3cret" not in json.dumps(digests.digested(one, KEY))

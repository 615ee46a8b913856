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
    assert digests.digested(service, KEY) is service

"""A directory and a real S3 server behind one interface keep the same promises."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from runbooks.errors import RecoveryError, Refused, Unavailable
from runbooks.site import Bucket, Secret
from tasks import object_store
from tasks.object_store import Changed, Exists, Store
from tests.tasks.programs import Weed, weed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    with weed(tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return object_store.connect(Bucket(url=f"file://{tmp_path}/store"))
    running: Weed = request.getfixturevalue("s3")
    found = object_store.connect(running.bucket)
    for key in found.list(""):
        found.delete(key)
    return found


def test_put_get_list_delete(store: Store) -> None:
    """What is put is there, under the prefix asked for, until it is deleted; deleting twice is no error."""
    store.put("runs/1/report.json", b"{}")
    store.put("runs/2/report.json", b"[]")
    found = store.get("runs/1/report.json")
    assert found is not None
    assert found.body == b"{}"
    assert store.list("runs/1") == ("runs/1/report.json",)
    assert store.list("") == ("runs/1/report.json", "runs/2/report.json")
    store.delete("runs/1/report.json")
    store.delete("runs/1/report.json")
    assert store.get("runs/1/report.json") is None
    assert store.list("nothing/") == ()


def test_key_that_is_taken(store: Store) -> None:
    """The first writer wins, and its object stays."""
    store.put_if_absent("lock", b"first")
    with pytest.raises(Exists, match="was written by somebody else"):
        store.put_if_absent("lock", b"second")
    found = store.get("lock")
    assert found is not None
    assert found.body == b"first"


def test_many_writers_of_one_key(store: Store) -> None:
    """Of all who try at once exactly one gets it."""

    def attempt(number: int) -> bool:
        try:
            store.put_if_absent("race", str(number).encode())
        except RecoveryError:
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_object_that_changed(store: Store) -> None:
    """Only what was read is written over; what was written or deleted since stays as it is."""
    store.put("lock", b"mine")
    read = store.get("lock")
    assert read is not None
    store.put_if_match("lock", b"renewed", read.etag)
    with pytest.raises(Changed):
        store.put_if_match("lock", b"stale", read.etag)
    store.delete("lock")
    with pytest.raises(Changed):
        store.put_if_match("lock", b"gone", read.etag)
    assert store.get("lock") is None


@pytest.mark.parametrize("key", ["../out", "/etc/x", ".lock", "a/../../x", ""])
def test_key_that_leads_out_of_the_directory(key: str, tmp_path: Path) -> None:
    """It is refused before anything is written."""
    with pytest.raises(Refused, match="cannot be a key"):
        object_store.FileStore(tmp_path).put(key, b"x")


def test_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """It is a precondition that a person mends, not something to ask again."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="File exists"):
        object_store.FileStore(tmp_path / "file").put("key", b"x")


def test_reader_that_writes(s3: Weed) -> None:
    """Missing rights are refused; reading goes on."""
    object_store.connect(s3.bucket).put("shown", b"x")
    reader = object_store.connect(s3.reader)
    assert reader.get("shown") is not None
    with pytest.raises(Refused, match="AccessDenied"):
        reader.put("shown", b"y")


def test_wrong_key(s3: Weed, tmp_path: Path) -> None:
    """It is refused, and the secret is not in the error."""
    (tmp_path / "secret").write_text("hush-hush")
    bucket = s3.bucket.model_copy(update={"secret_key": Secret(where=f"file:{tmp_path}/secret")})
    with pytest.raises(Refused, match="SignatureDoesNotMatch") as caught:
        object_store.connect(bucket).put("key", b"x")
    assert "hush-hush" not in str(caught.value)


def test_missing_bucket(s3: Weed) -> None:
    """A wrong name is a mistake in the site file."""
    with pytest.raises(Refused, match="NoSuchBucket"):
        object_store.connect(s3.bucket.model_copy(update={"url": "s3://nothing"})).get("key")


def test_nobody_listens(s3: Weed) -> None:
    """Asking again is safe."""
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        object_store.connect(s3.bucket.model_copy(update={"endpoint": "http://127.0.0.1:1"})).put("key", b"x")


def test_server_that_hangs(s3: Weed) -> None:
    """A call comes back within its time limit."""
    store = object_store.connect(s3.bucket)
    store.put("key", b"x")
    s3.hang()
    try:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            store.put("key", b"y")
        assert timedelta(seconds=time.monotonic() - began) < timedelta(seconds=8)
    finally:
        s3.go_on()


def test_unknown_profile() -> None:
    """The hint says where credentials may come from."""
    with pytest.raises(Refused, match="AWS profile 'nobody' is not configured"):
        object_store.connect(Bucket(url="s3://evidence", profile="nobody"))

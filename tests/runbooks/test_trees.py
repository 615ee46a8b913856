"""Trees as find and restic list them; the real programs wrote what is read here."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runbooks import trees
from runbooks.compare import trees as comparing
from runbooks.trees import Node

TAKEN = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
FAULT = TAKEN + timedelta(hours=7)


def at(moment: datetime) -> int:
    return int(moment.timestamp() * 10**9)


OLD = at(TAKEN - timedelta(days=1))
FILE = Node("file", 3, 0o644, 0, 0, OLD, OLD)
FOLDER = Node("dir", 0, 0o755, 0, 0, OLD, OLD)
LINK = Node("symlink", 0, 0o777, 0, 0, OLD, OLD, target="a")
SNAPSHOT = {"/s": FOLDER, "/s/a": FILE, "/s/d": FOLDER, "/s/d/b": FILE, "/s/link": LINK}
SUMS = {"/s/a": "1" * 64, "/s/d/b": "2" * 64, "/s/link": "a"}


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Names with everything that a file system allows."""
    root = tmp_path / "set"
    (root / "a folder").mkdir(parents=True)
    for name in ("-rf", "new\nline", "ünï", "quote'\"", "*glob[1]?", "back\\slash\\xff"):
        (root / "a folder" / name).write_text(name)
    Path(os.fsdecode(os.fsencode(str(root)) + b"/\xff\xe2\x82")).write_text("not UTF-8")
    (root / "link").symlink_to("/etc/passwd")
    (root / "a folder" / "-rf").chmod(0o4750)
    return root


def listing(root: Path) -> dict[str, Node]:
    done = subprocess.run(["find", str(root), "-printf", trees.FORMAT], capture_output=True, check=True)
    return trees.listed(done.stdout)


def restic(repository: Path, *argv: str) -> str:
    environment = {"RESTIC_PASSWORD": "x", "RESTIC_REPOSITORY": str(repository), "HOME": str(repository.parent)}
    done = subprocess.run(["restic", "--no-cache", *argv], env={**os.environ, **environment}, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_restic_and_find_say_the_same(odd: Path, tmp_path: Path) -> None:
    """Kind, size, rights with setuid, owner and time to the nanosecond, of the oddest names."""
    repository = tmp_path / "repository"
    restic(repository, "init")
    restic(repository, "backup", str(odd))
    found = {p: n for p, n in trees.in_snapshot(restic(repository, "ls", "--json", "latest")).items() if "/set" in p}
    here = listing(odd)
    assert found.keys() == here.keys()
    assert found == {p: replace(n, raw=None, target=None) for p, n in here.items()}


def test_sums_of_odd_names(odd: Path) -> None:
    """Each file has one, under the name that the listing gives it."""
    files = {path: node for path, node in listing(odd).items() if node.is_file}
    names = b"".join(n.raw + b"\0" for n in files.values() if n.raw)
    done = subprocess.run(["xargs", "-0", "sha256sum", "-z", "--"], input=names, capture_output=True, check=True)
    assert trees.sums(done.stdout).keys() == files.keys()


def test_topmost() -> None:
    """A folder stands for all in it, and for nothing that only begins like it."""
    assert trees.topmost(["/s/d/b", "/s/d-e", "/s/d", "/s/d/b/c", "/s/a"]) == ("/s/a", "/s/d", "/s/d-e")


def test_nothing_was_damaged() -> None:
    """Also with things that are new."""
    live = {**SNAPSHOT, "/s/new": replace(FILE, modified_ns=at(FAULT))}
    found = comparing.damage(SNAPSHOT, live, taken_at=TAKEN, fault=FAULT)
    assert (found.missing, found.damaged, found.changed, found.extra) == ((), (), (), 1)


def test_missing_folder() -> None:
    """It is named once."""
    live = {p: n for p, n in SNAPSHOT.items() if not p.startswith("/s/d")}
    assert comparing.damage(SNAPSHOT, live, taken_at=TAKEN, fault=FAULT).missing == ("/s/d",)


@pytest.mark.parametrize(
    ("moment", "fault", "damaged"),
    [
        (TAKEN + timedelta(hours=1), FAULT, False),
        (FAULT + timedelta(seconds=1), FAULT, True),
        (TAKEN - timedelta(hours=1), FAULT, True),
        (TAKEN + timedelta(hours=1), None, True),
    ],
)
def test_changed_file(moment: datetime, fault: datetime | None, damaged: bool) -> None:
    """Written between snapshot and fault it is newer than the backup; at any other time, or if nobody knows: damage."""
    live = {**SNAPSHOT, "/s/a": replace(FILE, size_bytes=9, modified_ns=at(moment), changed_ns=at(moment))}
    found = comparing.damage(SNAPSHOT, live, taken_at=TAKEN, fault=fault)
    assert (found.damaged, found.changed) == ((("/s/a",), ()) if damaged else ((), ("/s/a",)))


def test_time_that_was_set_back() -> None:
    """Who writes a file and sets its time back is seen by its ctime."""
    moment = TAKEN + timedelta(hours=1)
    live = {**SNAPSHOT, "/s/a": replace(FILE, size_bytes=9, modified_ns=at(moment), changed_ns=at(FAULT))}
    assert comparing.damage(SNAPSHOT, live, taken_at=TAKEN, fault=FAULT).damaged == ("/s/a",)


def test_restored_as_it_was() -> None:
    """No difference, and all was compared."""
    found = comparing.restored(SNAPSHOT, SUMS, SNAPSHOT, SUMS, store="files:s")
    assert (found.differences, found.weakly_checked, found.compared) == ((), (), 5)


@pytest.mark.parametrize(
    ("path", "node", "told"),
    [
        ("/s/a", None, ("/s/a", "file", "missing")),
        ("/s/a", replace(FILE, kind="symlink"), ("/s/a kind", "file", "symlink")),
        ("/s/a", replace(FILE, size_bytes=4), ("/s/a size", "3 bytes", "4 bytes")),
        ("/s/a", replace(FILE, mode=0o600), ("/s/a mode", "0644", "0600")),
        ("/s/d", replace(FOLDER, mode=0o700), ("/s/d mode", "0755", "0700")),
        ("/s/d", replace(FOLDER, uid=7), ("/s/d owner", "0:0", "7:0")),
        ("/s/a", replace(FILE, gid=7), ("/s/a owner", "0:0", "0:7")),
        ("/s/a", replace(FILE, modified_ns=OLD + 1), ("/s/a mtime", str(OLD), str(OLD + 1))),
        ("/s/link", replace(LINK, target="b"), ("/s/link content", "a", "b")),
        ("/s/more", FILE, ("/s/more", "absent", "file")),
    ],
)
def test_restored_otherwise(path: str, node: Node | None, told: tuple[str, str, str]) -> None:
    """Each field is compared, and the difference names it."""
    after = {p: n for p, n in {**SNAPSHOT, path: node}.items() if n is not None}
    found = comparing.restored(SNAPSHOT, SUMS, after, {**SUMS, "/s/more": "3" * 64}, store="files:s")
    assert [(d.where, d.expected, d.observed) for d in found.differences] == [(f"files:s {told[0]}", *told[1:])]


def test_altered_content() -> None:
    """Same size, same time: only its checksum tells."""
    found = comparing.restored(SNAPSHOT, SUMS, SNAPSHOT, {**SUMS, "/s/a": "9" * 64}, store="files:s")
    assert [d.where for d in found.differences] == ["files:s /s/a content"]


def test_unreadable_content() -> None:
    """A file without a checksum is no match."""
    found = comparing.restored(SNAPSHOT, SUMS, SNAPSHOT, {"/s/d/b": SUMS["/s/d/b"]}, store="files:s")
    assert [d.observed for d in found.differences] == ["it could not be read"]


def test_content_that_nobody_recorded() -> None:
    """It is listed as weakly checked."""
    found = comparing.restored(SNAPSHOT, {}, SNAPSHOT, SUMS, store="files:s")
    assert found.differences == ()
    assert "/s/a, /s/d/b, /s/link" in found.weakly_checked[0]


def test_used_since_it_came_back() -> None:
    """The application's own writes are no difference; a file from before that is."""
    written = replace(FILE, size_bytes=8, modified_ns=at(FAULT))
    after = {**SNAPSHOT, "/s/a": written, "/s/new": written}
    assert comparing.restored(SNAPSHOT, SUMS, after, SUMS, store="files:s", since=FAULT).differences == ()
    assert len(comparing.restored(SNAPSHOT, SUMS, after, SUMS, store="files:s").differences) > 1

"""Things are put in their places by renaming, and nothing is overwritten: on this machine's own disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runbooks.errors import NotRecovered, Refused
from tasks import host_places
from tasks.host_places import Standing
from tasks.host_trees import Host
from tests.tasks.local_shell import LocalShell, file_set

ODD = ("-rf", "new\nline", "trailing\n", "ünï", "*", "back\\slash", "a b", "'")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(LocalShell(tmp_path), file_set(tmp_path))


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "set")


@pytest.fixture
def folder(host: Host, root: str) -> str:
    """A run's own folder, made twice, as after a kill."""
    made = host_places.workspace(root, "r1")
    host_places.make(host, made, "r1")
    host_places.make(host, made, "r1")
    return made


def restored(folder: str, path: str, content: str = "old") -> None:
    file = Path(f"{folder}/restored{path}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def test_missing_files(host: Host, root: str, folder: str) -> None:
    """Whatever their names: each is in its place, and nothing is left to place."""
    for name in ODD:
        restored(folder, f"{root}/{name}", name)
    host_places.keep_places(host, folder, [f"{root}/{name}".encode() for name in ODD])
    host_places.place(host, root, folder, Standing.REFUSED)
    assert {name: Path(root, name).read_text() for name in os.listdir(root)} == {name: name for name in ODD}
    host_places.place(host, root, folder, Standing.REFUSED)
    assert host_places.kept(host, folder) == ()
    host_places.put_away(host, folder, "r1")
    assert not Path(folder).exists()


def test_whole_set(host: Host, root: str, folder: str) -> None:
    """The old one is aside, whole; it stays when all else is put away."""
    Path(root, "damaged").write_text("new")
    restored(folder, f"{root}/damaged")
    host_places.keep_places(host, folder, [root.encode()])
    host_places.place(host, root, folder, Standing.ASIDE)
    assert Path(root, "damaged").read_text() == "old"
    host_places.put_away(host, folder, "r1")
    assert host_places.kept(host, folder) == (f"{folder}/aside/1",)
    assert Path(f"{folder}/aside/1{root}/damaged").read_text() == "new"


def test_killed_between_the_two_renames(host: Host, root: str, folder: str) -> None:
    """The old set is aside, the new one not yet in its place: the next attempt goes on with the second."""
    restored(folder, f"{root}/file")
    host_places.keep_places(host, folder, [root.encode()])
    aside = Path(f"{folder}/aside/1{root}")
    aside.parent.mkdir(parents=True)
    Path(root).rename(aside)
    host_places.place(host, root, folder, Standing.ASIDE)
    assert Path(root, "file").read_text() == "old"


def test_application_that_made_it_again(host: Host, root: str, folder: str) -> None:
    """Between the two renames it made an empty folder: that one is set aside, too, beside the first."""
    restored(folder, f"{root}/file")
    host_places.keep_places(host, folder, [root.encode()])
    Path(f"{folder}/aside/1{root}").mkdir(parents=True)
    Path(root, "new").write_text("new")
    host_places.place(host, root, folder, Standing.ASIDE)
    assert host_places.kept(host, folder) == (f"{folder}/aside/1", f"{folder}/aside/2")
    assert Path(f"{folder}/aside/2{root}/new").read_text() == "new"


def test_file_that_somebody_made_meanwhile(host: Host, root: str, folder: str) -> None:
    """It was missing when it was planned: now it is not overwritten."""
    restored(folder, f"{root}/file")
    Path(root, "file").write_text("new")
    host_places.keep_places(host, folder, [f"{root}/file".encode()])
    with pytest.raises(NotRecovered, match="somebody made it meanwhile"):
        host_places.place(host, root, folder, Standing.REFUSED)
    assert Path(root, "file").read_text() == "new"


def test_folder_that_became_a_link(host: Host, root: str, folder: str, tmp_path: Path) -> None:
    """Nothing is written through it."""
    (tmp_path / "elsewhere").mkdir()
    Path(root, "sub").symlink_to(tmp_path / "elsewhere")
    restored(folder, f"{root}/sub/file")
    host_places.keep_places(host, folder, [f"{root}/sub/file".encode()])
    with pytest.raises(NotRecovered, match="a folder above it is missing or a link"):
        host_places.place(host, root, folder, Standing.ASIDE)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_set_below_a_link(host: Host, tmp_path: Path) -> None:
    """Where the way to the set itself leads over a link, as /var/run does, it is followed."""
    (tmp_path / "way").symlink_to(tmp_path)
    root = str(tmp_path / "way" / "set")
    folder = host_places.workspace(root, "r2")
    host_places.make(host, folder, "r2")
    restored(folder, f"{root}/sub")
    host_places.keep_places(host, folder, [f"{root}/sub".encode()])
    host_places.place(host, root, folder, Standing.REFUSED)
    assert (tmp_path / "set" / "sub").read_text() == "old"


def test_neither_restored_nor_there(host: Host, root: str, folder: str) -> None:
    """Not passed over in silence."""
    host_places.keep_places(host, folder, [f"{root}/gone".encode()])
    with pytest.raises(NotRecovered, match="neither restored nor in its place"):
        host_places.place(host, root, folder, Standing.ASIDE)


def test_places_are_written_once(host: Host, root: str, folder: str) -> None:
    """An attempt that goes on keeps to what was planned first."""
    host_places.keep_places(host, folder, [b"/first"])
    host_places.keep_places(host, folder, [b"/second"])
    assert Path(folder, "places").read_bytes() == b"/first\0"


def test_folder_of_somebody_else(host: Host, root: str, tmp_path: Path) -> None:
    """Neither used nor removed."""
    folder = host_places.workspace(root, "r1")
    Path(folder).mkdir()
    with pytest.raises(Refused, match="run r1 did not make it"):
        host_places.make(host, folder, "r1")
    with pytest.raises(Refused, match="run r1 did not make it"):
        host_places.put_away(host, folder, "r1")
    assert Path(folder).exists()


def test_whole_or_not(host: Host, folder: str) -> None:
    """A restore counts when its end was noted, for that snapshot alone."""
    assert not host_places.is_whole(host, folder, "a" * 64)
    host_places.note_whole(host, folder, "a" * 64)
    assert host_places.is_whole(host, folder, "a" * 64)
    assert not host_places.is_whole(host, folder, "b" * 64)

"""Daily backups of a set of files, with the installed restic: what is recorded, kept and checked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runbooks import site as sites
from runbooks.errors import NotRecovered, Refused
from runbooks.site import Bucket, Site
from tasks import file_backups, file_verification, object_store
from tasks.file_records import Checks, Part, Records, incomplete
from tasks.restic import Repository
from tests.tasks.local_shell import connect

pytestmark = pytest.mark.slow


def site_of(folder: Path) -> Site:
    example = sites.load("production")
    store = Bucket(url=f"file://{folder}/evidence")
    return example.model_copy(update={"evidence": example.evidence.model_copy(update={"store": store})})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return site_of(tmp_path)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made, _ = connect(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "set" / name).write_text(name)
    (tmp_path / "set" / "link").symlink_to("a")
    (tmp_path / "set" / "x.tmp").write_text("not backed up")
    return made


def test_daily(site: Site, repository: Repository, tmp_path: Path) -> None:
    """Made once; each snapshot has a record of what its files held, and no file is read again that was not touched."""
    first = file_backups.ensure_repository(site, repository)
    assert file_backups.ensure_repository(site, repository) == first
    monday = file_backups.back_up(site, repository, run="r1")
    assert (monday.complete, monday.files, monday.recorded, monday.changed_meanwhile) == (True, 2, 2, 0)
    (tmp_path / "set" / "b").write_text("changed")
    shell = repository.shell
    shell.asked.clear()  # type: ignore[attr-defined]
    tuesday = file_backups.back_up(site, repository, run="r2")
    records = Records(site, repository.of)
    old, new = (records.of_id(one.snapshot) for one in (monday, tuesday))
    assert old is not None
    assert new is not None
    root = str(tmp_path / "set")
    assert old.contents[f"{root}/a"] == new.contents[f"{root}/a"]
    assert old.contents[f"{root}/b"] != new.contents[f"{root}/b"]
    assert new.contents[f"{root}/link"] == "a"
    assert len(repository.snapshots()) == 2
    assert incomplete(records, repository.snapshots()) == ()
    assert file_backups.forget(site, repository) == 1  # two of one day
    assert records.recorded() == (tuesday.snapshot,)


def test_file_that_changes_meanwhile(site: Site, repository: Repository, tmp_path: Path) -> None:
    """The snapshot may hold either form of it, so nothing is recorded of it."""
    file_backups.ensure_repository(site, repository)
    shell, run = repository.shell, repository.shell.run

    class Busy:
        def run(self, argv, **how):  # type: ignore[no-untyped-def]
            done = run(argv, **how)
            if argv[1:2] == ["backup"]:
                (tmp_path / "set" / "b").write_text("written while restic was at work")
            return done

    busy = Repository(Busy(), repository.of, repository.keys)
    made = file_backups.back_up(site, busy, run="r1")
    record = Records(site, repository.of).of_id(made.snapshot)
    assert record is not None
    assert (made.changed_meanwhile, list(record.files)) == (1, [f"{tmp_path}/set/a"])
    assert shell is repository.shell


def test_another_repository_in_its_place(site: Site, repository: Repository, tmp_path: Path) -> None:
    """It is not used, and no new one is made where the old one vanished: the history would be gone unnoticed."""
    known = file_backups.ensure_repository(site, repository)
    (tmp_path / "repository").rename(tmp_path / "moved")
    with pytest.raises(Refused, match=f"holds no repository, that of files:docs is {known[:10]}"):
        file_backups.ensure_repository(site, repository)
    repository.init()
    with pytest.raises(Refused, match=f"that of files:docs is {known[:10]}"):
        file_backups.check(site, repository)


def test_incomplete(site: Site, repository: Repository, tmp_path: Path) -> None:
    """A path that does not exist: restic says nothing is wrong, the record does."""
    other, _ = connect(tmp_path, paths=[str(tmp_path / "set"), str(tmp_path / "gone")])
    file_backups.ensure_repository(site, other)
    made = file_backups.back_up(site, other, run="r1")
    assert made.complete is False
    assert incomplete(Records(site, other.of), other.snapshots()) == (made.snapshot,)


def test_checks_cover_all(site: Site, tmp_path: Path) -> None:
    """In as many days as there are parts each part is read; a byte that was flipped turns one of them red."""
    repository, _ = connect(tmp_path, check_parts=2)
    (tmp_path / "set" / "large").write_bytes(os.urandom(100_000))
    file_backups.ensure_repository(site, repository)
    file_backups.back_up(site, repository, run="r1")
    assert [sorted(p.part for p in file_backups.check(site, repository).good) for _ in range(2)] == [[1], [1, 2]]
    pack = max((tmp_path / "repository" / "data").glob("*/*"), key=lambda p: p.stat().st_size)
    pack.chmod(0o600)
    raw = bytearray(pack.read_bytes())
    raw[40] ^= 1
    pack.write_bytes(raw)
    with pytest.raises(NotRecovered, match="repository contains errors"):
        [file_backups.check(site, repository) for _ in range(2)]


def test_restore_test(site: Site, repository: Repository, tmp_path: Path) -> None:
    """Some files come back as they were; the result is history. A damaged repository, or a record that says something
    else, turns it red; the same seed chooses the same files. Nothing is left beside the set."""
    file_backups.ensure_repository(site, repository)
    made = file_backups.back_up(site, repository, run="r1")
    (tmp_path / "set" / "a").write_text("changed since, which is no harm")
    done = file_verification.verify(site, repository, run="t1", seed=7)
    assert (done.ok, done.files, done.by_checksum, done.snapshot) == (True, 2, 2, made.snapshot)
    records = Records(site, repository.of)
    record = records.of_id(made.snapshot)
    assert record is not None
    wrong = {path: content.model_copy(update={"sha256": "0" * 64}) for path, content in record.files.items()}
    records.keep(record.model_copy(update={"files": wrong}))
    with pytest.raises(NotRecovered, match="2 differences in files:docs"):
        file_verification.verify(site, repository, run="t2", seed=7)
    store = object_store.connect(site.evidence.store)
    history = [store.get(key) for key in records.tests()]
    found = [file_verification.Tested.model_validate_json(one.body) for one in history if one is not None]
    assert [(t.ok, t.seed) for t in found] == [(True, 7), (False, 7)]
    assert found[0].seconds > 0
    assert found[0].data_age_seconds is not None
    assert sorted(os.listdir(tmp_path)) == sorted({"set", "repository", "evidence", "password", ".cache"})


def test_restore_test_without_a_record(site: Site, repository: Repository, tmp_path: Path) -> None:
    """What was not touched since the snapshot is compared with the live files; if all was, the test is not green."""
    file_backups.ensure_repository(site, repository)
    repository.back_up(tags=())
    done = file_verification.verify(site, repository, run="t1")
    assert (done.ok, done.by_checksum) == (True, 2)
    for name in ("a", "b"):
        (tmp_path / "set" / name).write_text("changed")
    with pytest.raises(NotRecovered, match="no file of files:docs could be compared by checksum"):
        file_verification.verify(site, repository, run="t2")


def test_next_part() -> None:
    """Unread ones first, then the one that was not read for longest."""
    monday, tuesday = (Part(part=n, at=f"2026-11-2{n}T03:00:00Z") for n in (1, 2))  # type: ignore[arg-type]
    assert Checks(parts=3, good=(monday, tuesday)).next_part() == 3
    assert Checks(parts=2, good=(tuesday, monday)).next_part() == 1

"""Files: the observer's two manifests of a backup decide; without them only what is certain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbooks import compare
from runbooks.compare import Comparison
from runbooks.records import BackupState, Difference, FileManifest, FileRecord

STARTED = datetime(2026, 11, 23, 10, tzinfo=UTC)
RESTORED = STARTED + timedelta(minutes=20)
OLD, DURING, LATER = STARTED - timedelta(days=1), STARTED + timedelta(seconds=5), RESTORED + timedelta(seconds=5)
PATH = "2026/12345.txt"
WHERE = f"volume:invoices {PATH}"


def file(content: str, at: datetime = OLD) -> FileRecord:
    return FileRecord(size_bytes=len(content), sha256=content * 32, modified_at=at)


A, B, C = file("a"), file("b"), file("c")


def manifest(files: dict[str, FileRecord]) -> FileManifest:
    return FileManifest(store="volume:invoices", taken_at=STARTED, files=files)


def only(record: FileRecord | None) -> dict[str, FileRecord]:
    return {PATH: record} if record else {}


def by_backup(started: dict[str, FileRecord], ended: dict[str, FileRecord], after: dict[str, FileRecord]) -> Comparison:
    state = BackupState(backup="b", uid="u", started=(manifest(started),), ended=(manifest(ended),))
    return compare.files(state, None, STARTED, RESTORED, manifest(after))


def by_before(before: dict[str, FileRecord], after: dict[str, FileRecord]) -> Comparison:
    return compare.files(None, manifest(before), STARTED, RESTORED, manifest(after))


def after_now(content: str) -> FileRecord:
    return file(content, LATER)


@pytest.mark.parametrize(
    ("started", "ended", "after", "is_right"),
    [
        pytest.param(A, A, A, True, id="unchanged and back"),
        pytest.param(A, A, B, False, id="unchanged and altered"),
        pytest.param(A, A, after_now("b"), False, id="unchanged and altered after the restore"),
        pytest.param(A, A, after_now("a"), True, id="back with another time"),
        pytest.param(A, A, None, False, id="unchanged and missing"),
        pytest.param(A, B, A, True, id="changed during the backup, the older is back"),
        pytest.param(A, B, B, True, id="changed during the backup, the newer is back"),
        pytest.param(A, B, C, False, id="changed during the backup, a third is back"),
        pytest.param(A, B, after_now("c"), True, id="changed during the backup and again since"),
        pytest.param(A, B, None, False, id="changed during the backup and missing"),
        pytest.param(None, A, None, True, id="new during the backup, missed by it"),
        pytest.param(None, A, A, True, id="new during the backup, in it"),
        pytest.param(None, A, B, False, id="new during the backup, another is back"),
        pytest.param(A, None, None, True, id="deleted during the backup, not in it"),
        pytest.param(A, None, A, True, id="deleted during the backup, in it"),
        pytest.param(A, None, B, False, id="deleted during the backup, another is back"),
        pytest.param(None, None, A, False, id="left over"),
        pytest.param(None, None, after_now("a"), True, id="written since the restore"),
    ],
)
def test_one_file(
    started: FileRecord | None, ended: FileRecord | None, after: FileRecord | None, is_right: bool
) -> None:
    """Equal at the start and the end of the backup: equal after; changed in between: either form."""
    comparison = by_backup(only(started), only(ended), only(after))
    assert [d.where for d in comparison.differences] == ([] if is_right else [WHERE])
    assert comparison.compared == 1


def test_altered_file_is_spelled() -> None:
    """Size and the start of the checksum, so that a person can look for the right version."""
    [difference] = by_backup(only(A), only(A), only(file("bb"))).differences
    assert difference == Difference(
        where=WHERE, expected="1 bytes, sha256 aaaaaaaaaaaa", observed="2 bytes, sha256 bbbbbbbbbbbb"
    )


def test_changed_again_since_the_restore() -> None:
    """The application writes it all the time: no difference, but said to be weakly checked."""
    [weak] = by_backup(only(A), only(B), only(after_now("c"))).weakly_checked
    assert weak == f"volume:invoices: changed during the backup and again since the restore: {PATH}"


def test_empty_volume() -> None:
    """Every file is missing; the first are named and the rest counted."""
    files = {f"{n:06}": A for n in range(1000)}
    comparison = by_backup(files, files, {})
    assert len(comparison.differences) == 101
    assert comparison.differences[0].observed == "missing"
    assert comparison.differences[-1].observed == "900 more files differ"


def test_empty_volume_as_it_was() -> None:
    """No files before, none after: equal."""
    assert by_backup({}, {}, {}).differences == ()


def test_observer_saw_another_volume_only() -> None:
    """Its record of one volume says nothing about the next: before decides."""
    other = FileManifest(store="volume:other", taken_at=STARTED, files={})
    state = BackupState(backup="b", uid="u", started=(other,), ended=(other,))
    comparison = compare.files(state, manifest(only(A)), STARTED, RESTORED, manifest(only(B)))
    assert [d.where for d in comparison.differences] == [WHERE]


def test_no_record_at_all() -> None:
    """What cannot be compared is red, never green."""
    comparison = compare.files(None, None, STARTED, RESTORED, manifest(only(A)))
    assert [(d.where, d.observed) for d in comparison.differences] == [("volume:invoices", "none was made")]


@pytest.mark.parametrize(
    ("before", "after", "is_right", "is_weak"),
    [
        pytest.param(A, A, True, False, id="older than the backup and back"),
        pytest.param(A, B, False, False, id="older than the backup and altered"),
        pytest.param(A, None, False, False, id="older than the backup and missing"),
        pytest.param(file("a", DURING), B, True, True, id="newer than the backup, same size"),
        pytest.param(file("a", DURING), file("bb"), False, False, id="newer than the backup, another size"),
        pytest.param(file("a", DURING), None, True, True, id="newer than the backup and missing"),
        pytest.param(file("a", STARTED), None, True, True, id="as old as the backup and missing"),
        pytest.param(None, A, True, True, id="deleted after the backup and back"),
        pytest.param(None, file("a", DURING), False, False, id="left over"),
        pytest.param(None, after_now("a"), True, False, id="written since the restore"),
    ],
)
def test_one_file_without_the_observer(
    before: FileRecord | None, after: FileRecord | None, is_right: bool, is_weak: bool
) -> None:
    """Older than the backup: must match; the rest is compared by size and said to be weakly checked."""
    comparison = by_before({**only(before), "beside": A}, {**only(after), "beside": A})
    assert [d.where for d in comparison.differences] == ([] if is_right else [WHERE])
    assert bool(comparison.weakly_checked) == is_weak


@pytest.mark.parametrize("at", [OLD, DURING])
def test_empty_volume_without_the_observer(at: datetime) -> None:
    """Nothing came back: red, even if each file by itself might be newer than the backup."""
    assert by_before(only(file("a", at)), {}).differences[0].observed == "none"


def test_backup_of_unknown_age() -> None:
    """Nothing is certain to be in it, so nothing counts as strongly checked."""
    comparison = compare.files(None, manifest(only(A)), None, RESTORED, manifest(only(B)))
    assert comparison.differences == ()
    assert len(comparison.weakly_checked) == 1


FORMS = st.sampled_from([None, A, B, C])


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("pqrstuvw"), st.tuples(FORMS, FORMS, FORMS)))
def test_any_files(forms: dict[str, tuple[FileRecord | None, ...]]) -> None:
    """Green exactly when each file is there in a form that the backup can hold."""
    started, ended, after = ({p: f[n] for p, f in forms.items() if f[n]} for n in range(3))
    wrong = {p for p, (first, last, here) in forms.items() if not _may_be(first, last, here)}
    found = by_backup(started, ended, after).differences  # type: ignore[arg-type]
    assert {d.where.split()[1] for d in found} == wrong


def _may_be(first: FileRecord | None, last: FileRecord | None, here: FileRecord | None) -> bool:
    allowed = [first, last] if first and last else [first, last, None]
    return here in allowed

"""The installed restic, on repositories on this disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runbooks.errors import NotRecovered, RecoveryError, Refused, Unavailable
from tasks import restic_answers, restic_locks
from tasks.restic import Repository
from tasks.restic_answers import Lock, Locked, Outcome
from tests.tasks.local_shell import connect

pytestmark = pytest.mark.slow
ODD = ("-rf", "new\nline", "ünï", "*glob[1]?", "back\\slash")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of odd names, and a repository with one snapshot of it."""
    folder = tmp_path_factory.mktemp("restic")
    made, _ = connect(folder)
    for name in ODD:
        (folder / "set" / name).write_text(name)
    for name in ("x.tmp", "x.log", "x.cache"):
        (folder / "set" / name).write_text("not backed up")
    (folder / "set" / "large").write_bytes(os.urandom(200_000))
    made.init()
    made.back_up(tags=("dr-runbooks",))
    return folder


@pytest.fixture
def repository(template: Path, tmp_path: Path) -> Repository:
    """A copy of the repository, of the same set."""
    shutil.copytree(template / "repository", tmp_path / "repository")
    made, _ = connect(template, repository=str(tmp_path / "repository"))
    return made


@pytest.mark.parametrize(
    ("code", "said", "outcome"),
    [
        (0, "", Outcome.DONE),
        (3, "Warning: at least one source file could not be read", Outcome.PARTIAL),
        (10, "Fatal: repository does not exist", Outcome.NO_REPOSITORY),
        (11, "", Outcome.LOCKED),
        (12, "", Outcome.WRONG_PASSWORD),
        (1, "Fatal: wrong password or no key found", Outcome.WRONG_PASSWORD),
        (1, "Fatal: something new", Outcome.FAILED),
        (2, "panic: wrong password or no key found", Outcome.FAILED),
        (130, "", Outcome.FAILED),
        (77, "", Outcome.FAILED),
        (None, "", Outcome.FAILED),
    ],
)
def test_how_it_ended(code: int | None, said: str, outcome: Outcome) -> None:
    """By code where the version has one, else by its words; what is not known is a failure."""
    assert restic_answers.judged(code, said) is outcome


def test_no_repository(tmp_path: Path) -> None:
    """Nothing is there, and that is known for sure."""
    made, _ = connect(tmp_path)
    assert made.identity() is None
    with pytest.raises(restic_answers.NoRepository):
        made.snapshots()


def test_made_and_kept(repository: Repository) -> None:
    """A repository keeps its id; it is not made twice."""
    found = repository.identity()
    assert found is not None
    with pytest.raises(Unavailable, match="config file already exists"):
        repository.init()
    assert repository.identity() == found


@pytest.mark.parametrize("how", ["refused", "503"])
def test_repository_that_is_away(tmp_path: Path, how: str) -> None:
    """It does not count as one that does not exist, though restic asks whether there is one."""
    with away() as port:
        place = f"s3:http://127.0.0.1:{port if how == '503' else 1}/bucket/folder"
        made, _ = connect(tmp_path, repository=place, access_key=f"file:{tmp_path}/password", secret_key="env:PATH")
        with pytest.raises(Unavailable) as failed:
            made.identity()
    assert "Is there a repository at the following location?" in failed.value.problem
    assert "hunter2" not in str(failed.value)


@contextmanager
def away() -> Iterator[int]:
    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_wrong_password(repository: Repository, tmp_path: Path) -> None:
    """Refused: asking again would not help."""
    (tmp_path / "other").write_text("another")
    other, _ = connect(tmp_path, password=f"file:{tmp_path / 'other'}")
    with pytest.raises(Refused, match="wrong password or no key found"):
        other.identity()


def test_backup_and_restore(repository: Repository, template: Path, tmp_path: Path) -> None:
    """Every odd name comes back, the excluded ones do not; no secret was on a command line."""
    made = repository.back_up(tags=("again",))
    assert (made.complete, made.problems) == (True, ())
    first, snapshot = repository.snapshots()
    assert snapshot.id.startswith(made.snapshot)
    assert [(s.hostname, s.tags) for s in (first, snapshot)] == [("web", ("dr-runbooks",)), ("web", ("again",))]
    root = str(template / "set")
    assert repository.listing(snapshot).keys() == {root, *(f"{root}/{name}" for name in (*ODD, "large"))}
    repository.restore(snapshot, target=str(tmp_path / "out"))
    assert sorted(os.listdir(f"{tmp_path}/out{root}")) == sorted((*ODD, "large"))
    assert "hunter2" not in "\n".join(repository.shell.asked)  # type: ignore[attr-defined]


def test_restore_of_some_paths(repository: Repository, template: Path, tmp_path: Path) -> None:
    """Exactly these, whatever stands in their names."""
    [snapshot] = repository.snapshots()
    root = str(template / "set")
    repository.restore(snapshot, target=str(tmp_path / "out"), only=[f"{root}/{name}" for name in ODD])
    assert sorted(os.listdir(f"{tmp_path}/out{root}")) == sorted(ODD)
    for name in ODD[:2]:
        repository.restore(snapshot, target=str(tmp_path / name), only=[f"{root}/{name}"])
        assert os.listdir(f"{tmp_path}/{name}{root}") == [name]


def test_path_that_does_not_exist(repository: Repository, template: Path, tmp_path: Path) -> None:
    """restic leaves it out with exit code 0; here the snapshot is not complete."""
    paths = [str(template / "set"), str(tmp_path / "gone")]
    other, _ = connect(template, repository=repository.of.repository, paths=paths)
    made = other.back_up(tags=())
    assert made.complete is False
    assert made.problems == (f"{tmp_path / 'gone'} does not exist, skipping",)


def test_file_that_cannot_be_read() -> None:
    """The snapshot is not complete, and the file is named."""
    said = '{"message_type":"error","error":{"Op":"open","Path":"s","Err":13},"during":"archival","item":"/s/secret"}'
    wrote = '{"message_type":"summary","snapshot_id":"7c5d98b1"}'
    made = restic_answers.made(3, wrote, said)
    assert made is not None
    assert (made.complete, made.problems) == (False, ("/s/secret: open failed, errno 13",))
    assert restic_answers.made(1, wrote, said) is None


def flip_a_byte(repository: Path) -> None:
    """In the data of a file, in the largest pack."""
    pack = max((repository / "data").glob("*/*"), key=lambda p: p.stat().st_size)
    pack.chmod(0o600)
    raw = bytearray(pack.read_bytes())
    raw[40] ^= 1
    pack.write_bytes(raw)


def test_flipped_byte(repository: Repository, tmp_path: Path) -> None:
    """The parts of a check cover all data between them; checking the structure alone sees nothing."""
    repository._run("check", within=timedelta(minutes=1))
    flip_a_byte(tmp_path / "repository")
    repository._run("check", within=timedelta(minutes=1))
    told: list[RecoveryError] = []
    for part in (1, 2):
        try:
            repository.check(part=part, parts=2)
        except NotRecovered as error:
            told.append(error)
    assert len(told) == 1
    assert "repository contains errors" in told[0].problem
    [snapshot] = repository.snapshots()
    with pytest.raises(NotRecovered, match="ciphertext verification failed"):
        repository.restore(snapshot, target=str(tmp_path / "out"))


def test_forget(repository: Repository, template: Path) -> None:
    """What is kept is by day, week and month; another host's snapshots are not touched."""
    keep = {"daily": 2, "weekly": 2, "monthly": 1}
    place = repository.of.repository
    mine, _ = connect(template, repository=place, hostname="files", retention=keep)
    for host, day in (("files", 1), ("files", 2), ("files", 9), ("files", 10), ("files", 11), ("mail", 1)):
        argv = ("backup", f"--host={host}", f"--time=2026-11-{day:02} 03:00:00", "--", *mine.of.paths)
        mine._run(*argv, within=timedelta(minutes=1))
    mine.forget()
    kept = mine.snapshots()
    assert sorted((s.hostname, s.time.day) for s in kept if s.hostname != "web") == [
        ("files", 2), ("files", 10), ("files", 11), ("mail", 1),
    ]  # fmt: skip
    assert [s.hostname for s in kept].count("web") == 1


@contextmanager
def somebody_backs_up(repository: Repository) -> Iterator[subprocess.Popen[bytes]]:
    """Another restic at work: it reads a pipe into which nothing is written."""
    environment = {**os.environ, **repository.keys, "HOME": str(Path(repository.of.repository).parent)}
    argv = ["restic", "--no-cache", "backup", "--stdin"]
    with subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as other:
        until = time.monotonic() + 10
        while not repository.locks():
            assert time.monotonic() < until
        yield other
        other.kill()


def test_lock_of_a_living_process(repository: Repository) -> None:
    """It stays, and who waits for it in vain is told whose it is."""
    with somebody_backs_up(repository) as other:
        with pytest.raises(Locked):
            repository.check(part=1, parts=1)
        with pytest.raises(Unavailable) as failed:
            restic_locks.patiently(repository, lambda: repository.check(part=1, parts=1), within=timedelta(seconds=1))
        assert f"pid {other.pid}" in failed.value.problem
        assert "its process is there" in failed.value.problem
        assert len(repository.locks()) == 1


def test_lock_of_a_dead_process(repository: Repository) -> None:
    """It is proven dead, so its lock goes, and the work goes on."""
    with somebody_backs_up(repository) as other:
        other.kill()
        other.wait()
        assert len(repository.locks()) == 1
        restic_locks.patiently(repository, lambda: repository.check(part=1, parts=1), within=timedelta(seconds=30))
    assert repository.locks() == ()


def test_lock_of_another_host(repository: Repository) -> None:
    """Nothing is known of its process here: it stays."""
    with somebody_backs_up(repository) as other:
        other.kill()
        other.wait()
        [lock] = repository.locks()
        elsewhere = lock.model_copy(update={"hostname": "elsewhere"})
        assert "it was taken on host elsewhere" in str(restic_locks._why_kept(repository, elsewhere))
        assert restic_locks._why_kept(repository, lock) is None


def test_lock_as_restic_writes_it() -> None:
    """A shared one has no member exclusive that is true."""
    text = '{"time":"2026-11-25T03:44:14.6Z","exclusive":false,"hostname":"vm","username":"root","pid":7,"uid":0}'
    assert restic_answers.lock("a1", text) == Lock.model_validate(
        {"id": "a1", "time": "2026-11-25T03:44:14.6Z", "hostname": "vm", "username": "root", "pid": 7}
    )


def test_reading_while_somebody_prunes(repository: Repository) -> None:
    """A recovery waits for nobody: it reads without a lock, and is compared afterwards."""
    with somebody_backs_up(repository):
        assert len(repository.snapshots()) == 1


def test_disk_full(repository: Repository, tmp_path: Path) -> None:
    """The restore is a failure that names the disk."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make a small disk")
    [snapshot] = repository.snapshots()
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(Unavailable, match="no space left on device"):
            repository.restore(snapshot, target=str(small / "out"))
    finally:
        subprocess.run(["umount", str(small)], check=True)

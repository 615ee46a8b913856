"""A host with files, reached by a real sshd, backed up by the real restic; an application; and runs on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from runbooks import site as sites
from runbooks.journal import Entry, read
from runbooks.report_schema import Report
from runbooks.site import Host, Site
from tasks import file_backups, file_hosts
from tests.drills.awaiting import first_entry
from tests.fakes import sshd
from tests.tasks import outside
from tests.zygote import Child, Zygote

ODD = ("-rf", "new\nline", "trailing\n", "ünï", "*glob[1]?", "back\\slash", "a b", "it's")
PASSWORD = "hunter2-of-the-repository"
INCIDENT = ("--mode", "incident", "--yes", "--no-server")
DRILL = ("--mode", "drill", "--impact", "sandbox", "--yes", "--no-server")


@dataclass
class FileStage:
    folder: Path
    zygote: Zygote
    site: Site
    application: outside.Application
    children: list[Child] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder / "srv" / "documents"

    def reset(self) -> None:
        """As it was after the backup: the files, the repository, the evidence."""
        for name in ("srv", "repository", "store", "evidence"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            if (self.folder / "kept" / name).exists():
                subprocess.run(["cp", "-a", self.folder / "kept" / name, self.folder / name], check=True)
        self.application.world.how = "up"

    def keep(self) -> None:
        for name in ("srv", "repository", "store"):
            subprocess.run(["cp", "-a", self.folder / name, self.folder / "kept" / name], check=True)

    def dr(self, *argv: str) -> Child:
        child = self.zygote.start(argv, folder=self.folder, env={"DR_LAB_ROOT": str(self.folder)})
        self.children.append(child)
        return child

    def start(self, run_id: str, *argv: str) -> Child:
        return self.dr("run", "file-restore", "--site", "lab", "--run-id", run_id, *argv)

    def resume(self, run_id: str) -> Child:
        return self.start(run_id, "--yes", "--no-server")

    def run(self, run_id: str, *argv: str) -> Report:
        """The report of a run that came to its end."""
        child = self.start(run_id, *argv)
        child.wait(280)
        return self.report(run_id)

    def evidence(self, run_id: str) -> Path:
        return self.folder / "evidence" / run_id

    def report(self, run_id: str) -> Report:
        path = self.evidence(run_id) / "report.json"
        assert path.exists(), self.children[-1].output[-3000:]
        return Report.from_file(path)

    def reason(self, run_id: str) -> str:
        """Why it ended before its end."""
        return json.dumps([e.data["reason"] for e in self.journal(run_id) if e.kind == "ended"], ensure_ascii=False)

    def journal(self, run_id: str) -> list[Entry]:
        path = self.evidence(run_id) / "journal.jsonl"
        return read(path) if path.exists() else []

    def wait_for(self, run_id: str, child: Child, is_there: Callable[[Entry], bool], seconds: float = 280) -> Entry:
        return first_entry(self.evidence(run_id) / "journal.jsonl", child, is_there, seconds)

    def listing(self, below: Path | None = None) -> dict[str, tuple[object, ...]]:
        """What is in the set, or in another folder: kind, rights, owner, time and content."""
        root = below or self.root
        found: dict[str, tuple[object, ...]] = {}
        for path in (root, *sorted(root.rglob("*"))):
            stat = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            time_ns = None if path.is_dir() and not path.is_symlink() else stat.st_mtime_ns
            found[str(path.relative_to(root))] = (stat.st_mode, stat.st_uid, stat.st_gid, time_ns, content)
        return found

    def back_up(self) -> str:
        of = self.site.file_set("documents")
        with file_hosts.connect(self.site, of) as repository:
            file_backups.ensure_repository(self.site, repository)
            return file_backups.back_up(self.site, repository, run="daily").snapshot


@contextmanager
def stage(zygote: Zygote, folder: Path) -> Iterator[FileStage]:
    """With one snapshot, and green for longer than `sustain`."""
    with sshd.serve(folder / "ssh", name="files-a") as host, outside.application() as application:
        (folder / "password").write_text(PASSWORD)
        (folder / "hmac.key").write_text("key")
        (folder / "site.toml").write_text(_site(folder, host.host, application.url))
        (folder / "kept").mkdir()
        made = FileStage(folder, zygote, sites.read(folder / "site.toml", "lab"), application)
        fill(made.root)
        made.back_up()
        made.keep()
        observer = made.dr("observe", "--site", "lab")
        try:
            _wait_for_green(made, observer)
            yield made
        finally:
            for child in made.children:
                if child.poll() is None:
                    child.kill()


def fill(root: Path) -> None:
    """Folders, links, odd names, odd rights and owners; and what is not backed up."""
    (root / "2026" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    for number, name in enumerate(ODD):
        (root / "2026" / name).write_text(f"invoice {name} " * (number + 1))
    (root / "2026" / "deep" / "12345.txt").write_text("199.90")
    Path(os.fsdecode(os.fsencode(str(root)) + b"/2026/\xff.bin")).write_text("not UTF-8")
    (root / "link").symlink_to("/etc/passwd")
    (root / "2026" / "-rf").chmod(0o4710)
    (root / "empty").chmod(0o2770)
    (root / "cache.tmp").write_text("not backed up")
    if os.geteuid() == 0:
        os.chown(root / "2026" / "ünï", 12, 34)
    for path in (*root.rglob("*"), root):
        os.utime(path, ns=(1_790_000_000_123_456_789, 1_790_000_000_123_456_789), follow_symlinks=False)


def _wait_for_green(made: FileStage, observer: Child) -> None:
    samples = made.folder / "observer" / "samples.jsonl"
    until = time.monotonic() + 30
    while not samples.exists() or samples.read_text().count('"ok":true') < 2:
        assert observer.poll() is None, observer.output
        assert time.monotonic() < until, observer.output
        time.sleep(0.05)


def _site(folder: Path, host: Host, url: str) -> str:
    return f"""\
name = "lab"

[[regions]]
name = "a"

[[hosts]]
name = "files-a"
address = "{host.address}"
port = {host.port}
user = "{host.user}"
key_file = "{host.key_file}"
host_key = "{host.host_key}"

[[file_sets]]
name = "documents"
host = "files-a"
paths = ["{folder}/srv/documents"]
exclude = ["*.tmp", "*.log", "*.cache"]
repository = "{folder}/repository"
password = "file:{folder}/password"

[[applications]]
name = "orders"
home = "a"
file_sets = ["documents"]
sustain = "0.5 s"
schedules = [{{ kind = "restic", name = "documents", every = "1 d" }}]

[[applications.probes]]
name = "order"
url = "{url}/orders/12345"
status = 200

[applications.drills]
scenarios = ["file-restore"]
impacts = ["sandbox"]

[evidence]
directory = "{folder}/evidence"
hmac_key = "file:{folder}/hmac.key"
[evidence.store]
url = "file://{folder}/store"

[observer]
directory = "{folder}/observer"
"""

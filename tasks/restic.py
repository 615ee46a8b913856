"""restic on the host of a file set. Its keys go there by the connection's own way: they are on no command line."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from runbooks import snapshots, trees
from runbooks.file_sets import FileSet
from runbooks.snapshots import Snapshot
from runbooks.trees import Node
from tasks import restic_answers, secrets
from tasks.restic_answers import Lock, Locked, Made, NoRepository, Outcome
from tasks.shells import Done, Shell

LOG = logging.getLogger("dr")
SOON = timedelta(seconds=60)
LONG = timedelta(hours=6)
"""A first backup of a large set; each command is ended on the host when its time is up."""
SELDOM = {"RESTIC_PROGRESS_FPS": "0.2"}
GLOB = "*?[\\"


@dataclass(frozen=True)
class Repository:
    """The repository of one file set, as its host reaches it."""

    shell: Shell
    of: FileSet
    keys: dict[str, str] = field(repr=False)

    def version(self) -> str:
        return self._run("version", within=SOON).partition(" compiled")[0].strip()

    def identity(self) -> str | None:
        """The id that it keeps for life; None: there is none at its place. Reads only.

        Raises:
            Refused: the password is another one's.
            Unavailable: it does not answer, which does not mean that there is none.
        """
        try:
            return str(json.loads(self._run("cat", "config", "--no-lock", within=SOON))["id"])
        except NoRepository:
            return None

    def init(self) -> None:
        self._run("init", within=SOON)

    def snapshots(self) -> tuple[Snapshot, ...]:
        """All of them, of other hosts and paths too, oldest first."""
        return snapshots.parsed(self._read("snapshots", "--json", within=SOON))

    def listing(self, snapshot: Snapshot) -> dict[str, Node]:
        """The set's files in it: without the folders above."""
        found = trees.in_snapshot(self._read("ls", "--json", snapshot.id, within=LONG))
        return {p: n for root in self.of.paths for p, n in trees.within(found, root).items()}

    def back_up(self, *, tags: Sequence[str]) -> Made:
        """A snapshot of the set's paths.

        Raises:
            Locked: somebody holds the repository.
            Unavailable, Refused: no snapshot was made.
        """
        left_out = [f"--exclude={pattern}" for pattern in self.of.exclude]
        named = [f"--host={self.of.known_as}", *(f"--tag={tag}" for tag in tags)]
        argv = ("backup", "--json", *named, *left_out, "--", *self.of.paths)
        done = self._ended(argv, within=LONG)
        said = done.stderr.decode(errors="replace")
        made = restic_answers.made(done.exit_code, done.stdout.decode(errors="replace"), said)
        if made is None:
            raise restic_answers.error("backup", self.of.store, done.exit_code, said)
        return made

    def restore(self, snapshot: Snapshot, *, target: str, only: Sequence[str] = (), within: timedelta = LONG) -> None:
        """The set, or *only* some paths of it, lies below *target*, each file's content verified by restic.

        Raises:
            NotRecovered: the repository is damaged.
            Unavailable: it ended with errors, such as a full disk.
        """
        included = [f"--include={_plain(path)}" for path in only or self.of.paths]
        self._read("restore", snapshot.id, f"--target={target}", "--verify", *included, within=within)

    def check(self, *, part: int, parts: int) -> None:
        """Its structure is sound, and so is the data of one part of it: plain `check` does not read data.

        Raises:
            NotRecovered: it is damaged.
        """
        self._run("check", f"--read-data-subset={part}/{parts}", within=LONG)

    def forget(self) -> None:
        """Old snapshots of this set, and data that none needs, are gone; those of other hosts and paths stay."""
        keep = self.of.retention
        kept = [f"--keep-daily={keep.daily}", f"--keep-weekly={keep.weekly}", f"--keep-monthly={keep.monthly}"]
        of = [f"--host={self.of.known_as}", *(f"--path={path}" for path in self.of.paths), "--group-by=host,paths"]
        self._run("forget", *of, *kept, "--prune", within=LONG)

    def locks(self) -> tuple[Lock, ...]:
        """Those that were there when they were listed; one that is released meanwhile is left out."""
        found = []
        for id in self._run("list", "locks", "--no-lock", "--quiet", within=SOON).split():
            done = self._ended(("cat", "lock", id, "--no-lock"), within=SOON)
            if done.exit_code == 0:
                found.append(restic_answers.lock(id, done.stdout.decode()))
        return tuple(found)

    def unlock(self) -> None:
        """restic takes away those whose process is gone on this host, or that nobody renewed for 30 min; no others."""
        self._run("unlock", within=SOON)

    # -- how it is run ------------------------------------------------------------------------------------------------

    def _read(self, *argv: str, within: timedelta) -> str:
        """With a lock, else without: what is read is compared afterwards, and a recovery waits for nobody's prune."""
        try:
            return self._run(*argv, within=within)
        except Locked as error:
            LOG.warning("%s: reading without a lock", error.problem)
            return self._run(*argv, "--no-lock", within=within)

    def _run(self, *argv: str, within: timedelta) -> str:
        done = self._ended(argv, within=within)
        said = done.stderr.decode(errors="replace")
        if restic_answers.judged(done.exit_code, said) is not Outcome.DONE:
            told = said or done.stdout.decode(errors="replace")
            raise restic_answers.error(argv[0], self.of.store, done.exit_code, told)
        return done.stdout.decode(errors="replace")

    def _ended(self, argv: Sequence[str], *, within: timedelta) -> Done:
        return self.shell.run([self.of.restic, *argv], within=within, user=self.of.user, env={**self.keys, **SELDOM})


def connect(shell: Shell, of: FileSet) -> Repository:
    """Nothing is asked yet.

    Raises:
        Refused: a secret that the site file names does not exist.
    """
    keys = {"RESTIC_REPOSITORY": of.repository, "RESTIC_PASSWORD": secrets.read(of.password)}
    if of.access_key is not None and of.secret_key is not None:
        keys["AWS_ACCESS_KEY_ID"] = secrets.read(of.access_key)
        keys["AWS_SECRET_ACCESS_KEY"] = secrets.read(of.secret_key)
    return Repository(shell, of, keys)


def _plain(path: str) -> str:
    """As a pattern that fits nothing but this path."""
    return "".join(f"\\{c}" if c in GLOB else c for c in path)

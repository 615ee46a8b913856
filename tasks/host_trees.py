"""Files on a host, by GNU find, stat, df and sha256sum: what is there, and how much room there is. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from runbooks import trees
from runbooks.errors import Refused
from runbooks.file_sets import FileSet
from runbooks.model import Model
from runbooks.trees import Node
from tasks.shells import Done, Shell

WITHIN = timedelta(hours=4)
SOON = timedelta(seconds=30)
VANISHED = b"No such file or directory"
XARGS_SAW_FAILURES = 123


class Host:
    """The files of one set's host, as the user that restic runs as."""

    def __init__(self, shell: Shell, of: FileSet) -> None:
        self.shell, self.of = shell, of

    def run(self, argv: Sequence[str], *, input: bytes = b"", within: timedelta = SOON) -> Done:
        return self.shell.run(argv, within=within, user=self.of.user, input=input)

    def tree(self, roots: Sequence[str], *, below: str = "") -> dict[str, Node]:
        """What is at *roots* and in them, links not followed; a root that does not exist has nothing.

        *below*: a folder that is taken off the front of each path, to compare a restored set with the original.

        Raises:
            Refused: something cannot be read.
        """
        done = self.run(["find", *(below + root for root in roots), "-printf", trees.FORMAT], within=WITHIN)
        self._must_be_readable(done, (0, 1), "list")
        return trees.listed(done.stdout, below=below)

    def sums(self, tree: Mapping[str, Node], *, below: str = "") -> dict[str, str]:
        """The SHA-256 of each file of *tree*; one that vanished meanwhile has none.

        Raises:
            Refused: a file cannot be read.
        """
        names = b"".join(node.raw + b"\0" for node in tree.values() if node.is_file and node.raw is not None)
        if not names:
            return {}
        argv = ["xargs", "-0", "sha256sum", "-z", "--"]
        done = self.run(argv, input=names, within=WITHIN)
        self._must_be_readable(done, (0, XARGS_SAW_FAILURES), "read")
        return trees.sums(done.stdout, below=below)

    def _must_be_readable(self, done: Done, codes: tuple[int | None, ...], what: str) -> None:
        trouble = [line for line in done.stderr.splitlines() if line.strip() and VANISHED not in line]
        if trouble or done.exit_code not in codes:
            said = trouble[0].decode(errors="replace")[:256] if trouble else f"exit code {done.exit_code}"
            raise Refused(
                f"cannot {what} the files of {self.of.store}: {said}",
                f"host {self.of.host} needs GNU find, xargs and sha256sum, and a user who may read all of the set",
            )

    def room(self, folder: str) -> Room:
        """On the disk that *folder* is on.

        Raises:
            Refused: the folder does not exist.
        """
        done = self.run(["df", "--output=avail,iavail", "--block-size=1", "--", folder])
        if done.exit_code != 0:
            raise self._without(folder, done)
        available, inodes = done.stdout.split(b"\n")[1].split()
        return Room(bytes=int(available), inodes=int(inodes) if inodes.isdigit() else 0)

    def device(self, path: str) -> str:
        """Which file system *path* is on: only within one can a thing be renamed."""
        done = self.run(["stat", "--format=%d", "--", path])
        if done.exit_code != 0:
            raise self._without(path, done)
        return done.stdout.decode().strip()

    def _without(self, path: str, done: Done) -> Refused:
        said = done.stderr.decode(errors="replace").strip()[:256]
        return Refused(f"{path} on host {self.of.host}: {said}", "make it first, with the owner and rights that it had")


class Room(Model):
    """What is free on a disk; `inodes` 0: the file system does not count them."""

    bytes: int
    inodes: int

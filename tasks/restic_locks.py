"""Locks that a dead process left in a repository.

A lock is taken away only when its owner is proven dead: it ran on this very host, and no process has its number. restic
itself takes it away then (`unlock`), and looks again; `--remove-all` would take those of living ones, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from runbooks.errors import Unavailable
from runbooks.model import Model, rfc3339
from tasks.restic import Repository
from tasks.restic_answers import Lock, Locked
from tasks.waits import NotYet, wait_until

T = TypeVar("T")
LOG = logging.getLogger("dr")
SOON = timedelta(seconds=30)
ASK = 'uname -n; kill -0 "$1" 2>&1 && echo alive'
ANYBODY = ("localhost", "localhost.localdomain", "")
"""Names that several hosts may have: nothing is proven by them."""


class Held(Model):
    """A lock that stays, and why."""

    lock: Lock
    why: str

    def __str__(self) -> str:
        kind = "exclusive lock" if self.lock.exclusive else "lock"
        return f"{kind} of {self.lock.hostname}, pid {self.lock.pid}, since {rfc3339(self.lock.time)}: {self.why}"


def release_dead(repository: Repository) -> tuple[Held, ...]:
    """No lock of a process that is proven dead is left; the others, which stay, with the reason.

    Changes: takes away locks of dead processes of this host.
    """
    judged = [(lock, _why_kept(repository, lock)) for lock in repository.locks()]
    dead = {lock.id for lock, why in judged if why is None}
    if dead:
        LOG.info("%s: %d locks of dead processes: restic unlock", repository.of.store, len(dead))
        repository.unlock()
        left = {lock.id for lock in repository.locks()}
        judged = [(lock, why or "its process is gone, but restic keeps it") for lock, why in judged if lock.id in left]
    return tuple(Held(lock=lock, why=str(why)) for lock, why in judged)


def _why_kept(repository: Repository, lock: Lock) -> str | None:
    """Why its owner may live; None: it is dead. Not told by /proc, which may be hidden from us."""
    done = repository.shell.run(["sh", "-c", ASK, "ask", str(lock.pid)], within=SOON, user=repository.of.user)
    name, _, said = done.stdout.decode(errors="replace").partition("\n")
    if name != lock.hostname or name in ANYBODY:
        return f"it was taken on host {lock.hostname}, this one is {name}: look there whether its process lives"
    return None if "No such process" in said else "its process is there"


def patiently(repository: Repository, act: Callable[[], T], *, within: timedelta) -> T:
    """What *act* gives, as soon as nobody holds the repository.

    Raises:
        Unavailable: somebody held it all the time.
    """

    def look() -> T | NotYet:
        try:
            return act()
        except Locked as error:
            left = release_dead(repository)
            return NotYet("; ".join(map(str, left)) or error.problem)

    return wait_until(
        look,
        within=within,
        what=f"the repository of {repository.of.store}",
        otherwise=Unavailable,
        hint="wait for that process, or end it; restic unlock then takes its lock away",
        pause_seconds=1,
    )

"""How restic ended, told by its exit code and by what it said.

From 0.17 on: 3 partial, 10 no repository, 11 locked, 12 wrong password, 130 interrupted. Before, nearly all that is
wrong is 1, so its words decide; what is not known is a failure.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum

from runbooks.errors import NotRecovered, RecoveryError, Refused, Unavailable
from runbooks.model import Instant, Model

LONGEST = 600


class Outcome(StrEnum):
    DONE = "done"
    PARTIAL = "partial"
    NO_REPOSITORY = "no repository"
    LOCKED = "locked"
    WRONG_PASSWORD = "wrong password"
    DAMAGED = "damaged"
    FAILED = "failed"


CODES = {0: Outcome.DONE, 3: Outcome.PARTIAL, 10: Outcome.NO_REPOSITORY, 11: Outcome.LOCKED, 12: Outcome.WRONG_PASSWORD}
WORDS = (
    ("unable to create lock in backend: repository is already locked", Outcome.LOCKED),
    ("wrong password or no key found", Outcome.WRONG_PASSWORD),
    ("repository contains errors", Outcome.DAMAGED),
    ("ciphertext verification failed", Outcome.DAMAGED),
    ("Pack ID does not match", Outcome.DAMAGED),
)
ABSENT = re.compile(r"unable to open config file: .*(The specified key does not exist|no such file or directory)")
"""`Is there a repository at the following location?` proves nothing: 0.14 asks so, too, when nobody answers."""


class Locked(Unavailable):
    """Another process holds the repository."""


class NoRepository(Refused):
    """There is none at that place."""


class Lock(Model):
    """Who holds a repository; `id` as `restic list locks` names it."""

    id: str
    time: Instant
    exclusive: bool = False
    hostname: str
    username: str = ""
    pid: int


def judged(exit_code: int | None, said: str) -> Outcome:
    if exit_code is not None and exit_code in CODES:
        return CODES[exit_code]
    if exit_code != 1:
        return Outcome.FAILED
    if ABSENT.search(said):
        return Outcome.NO_REPOSITORY
    return next((outcome for words, outcome in WORDS if words in said), Outcome.FAILED)


def error(command: str, where: str, exit_code: int | None, said: str) -> RecoveryError:
    """The error for an outcome that is not `done`; exit code None: ended by a signal."""
    how = "was ended by a signal" if exit_code is None else f"ended with {exit_code}"
    problem = f"restic {command} of {where} {how}: {_end_of(said)}"
    match judged(exit_code, said):
        case Outcome.NO_REPOSITORY:
            return NoRepository(problem, "is the address right? a new one is made by the first scheduled backup")
        case Outcome.LOCKED:
            return Locked(
                problem, "who holds it? restic list locks; a lock is taken away once its owner is proven dead"
            )
        case Outcome.WRONG_PASSWORD:
            return Refused(problem, "is it the password of this repository? see file_sets.password of the site file")
        case Outcome.DAMAGED:
            return NotRecovered(problem, "keep the repository as it is, take another snapshot or its replica instead")
        case _:
            return Unavailable(problem, "does the repository answer, is there space, are the keys right?")


def _end_of(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = "; ".join(lines[-6:]) or "it said nothing"
    return text if len(text) <= LONGEST else f"…{text[-LONGEST:]}"


def lock(id: str, text: str) -> Lock:
    """What `restic cat lock` wrote."""
    raw = json.loads(text)
    return Lock.model_validate({"id": id, **{k: raw[k] for k in Lock.model_fields if k in raw}})


class Made(Model):
    """What a backup made. `problems` are files that could not be read: then it is not complete."""

    snapshot: str
    complete: bool
    problems: tuple[str, ...]


def made(exit_code: int | None, output: str, said: str) -> Made | None:
    """What `restic backup --json` wrote; None: no snapshot. A path that does not exist is left out with exit code 0."""
    lines = [json.loads(line) for line in (*output.splitlines(), *said.splitlines()) if line.startswith("{")]
    ids = [
        str(line["snapshot_id"]) for line in lines if line.get("message_type") == "summary" and "snapshot_id" in line
    ]
    problems = [
        f"{line.get('item')}: {_why(line.get('error'))}" for line in lines if line.get("message_type") == "error"
    ]
    problems += [line for line in said.splitlines() if line.endswith("does not exist, skipping")]
    if not ids or judged(exit_code, said) not in (Outcome.DONE, Outcome.PARTIAL):
        return None
    return Made(snapshot=ids[-1], complete=exit_code == 0 and not problems, problems=tuple(problems[:50]))


def _why(error: object) -> str:
    if not isinstance(error, dict):
        return str(error)
    return str(error.get("message") or f"{error.get('Op')} failed, errno {error.get('Err')}")

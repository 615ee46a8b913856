"""pgBackRest's commands: how one ended, told by its exit code and by what it said.

Exit codes name the place that failed, not the cause: a wrong S3 key is 39 (protocol), as a torn answer is; `info` and
`verify` end with 0 whatever happened. Source: src/build/error/error.yaml; measured with 2.45 and tested in the lab.
"""

from __future__ import annotations

import re
from datetime import timedelta

from runbooks.errors import NotRecovered, RecoveryError, Refused, Unavailable
from tasks.clients.ssh import Done
from tasks.clients.ssh_following import OnLine
from tasks.database_server import Postgres

ASKING = timedelta(minutes=5)
SOON = "--io-timeout=5"
"""For what only reads: one that does not answer is asked four times, 20 s in all; with the default, 240 s."""
NO_STANZA, NO_BACKUP = 1, 2
"""Of `status.code` in `info`, which ends with 0 all the same."""
LONGEST = 500
LOCKED, STOPPED, ARCHIVE_LATE, LABELS = 50, 62, 82, 106
DAMAGED_HINT = (
    "the repository is damaged: keep it as it is, use another backup set or its replica, and take a full backup"
)
MISSING = (37, 55, 73, 103)
"""option-required ("does this stanza exist?"), file-missing, path-missing, repo-invalid."""
DATABASE = (56, 57)
AWAY = (39, 42, 49, 95, 99, 101, 105)
"""protocol, file-read, host-connect, crypto (TLS), json (a torn answer), service (5xx), access."""
DAMAGED = (26, 28, 29)
"""checksum, file-invalid, format."""
REFUSED_BY_S3 = re.compile(r"failed with (401|403|404) ")
UNREADABLE = re.compile(r"unable to load (info|backup manifest) file .*(Checksum|Format|FileInvalid)Error", re.DOTALL)
TELLING = re.compile(r"^(ERROR|WARN)|Error: |HTTP request failed|<Code>")
CODE = re.compile(r"<Code>(\w+)</Code>")
HOLDERS = """
for p in $(printf '%s' "--stanza=$1" | grep -lsF -f - /proc/[0-9]*/cmdline); do
    told=$(tr '\\0' ' ' <"$p" 2>/dev/null) || continue
    case ${told%% *} in pgbackrest|*/pgbackrest)
        pid=${p#/proc/}
        case $told in *" --config="*) case $told in *" --config=$2 "*) ;; *) continue ;; esac ;; esac
        case $told in *" backup "|*" expire "|*" stanza-"*) echo "pid ${pid%/cmdline}: $told" ;; esac ;;
    esac
done; true
"""
"""Another repository may have a stanza of that name: who works by another configuration does not hold ours."""


class Locked(Unavailable):
    """Another pgBackRest is at work on the stanza."""


class Stopped(Refused):
    """Somebody ran `pgbackrest stop`: neither backups nor archiving go on until `start`."""


class Damaged(Refused):
    """A file of the repository is there, and is not what was written: asking again does not help."""


class NoStanza(Refused):
    """The repository does not know the stanza."""


def run(postgres: Postgres, *arguments: str, within: timedelta = ASKING, on_line: OnLine | None = None) -> Done:
    """One command to its end; the last argument is the command's name.

    Raises:
        Locked: another one is at work.
        Unavailable: the repository or the database does not answer.
        Stopped, NoStanza, Refused: it was told to stop; no such stanza; the repository does not let us in.
        NotRecovered: it failed otherwise.
    """
    done = postgres.pgbackrest(*arguments, within=within, on_line=on_line)
    if done.exit_code != 0:
        raise failed(postgres.stanza, arguments[-1], done.exit_code, done.how, done.stderr or done.stdout)
    return done


def failed(stanza: str, command: str, code: int | None, how: str, output: bytes) -> RecoveryError:
    """The error for a command that did not end with 0."""
    said = condensed(output.decode(errors="replace"))
    problem = f"pgbackrest {command} of stanza {stanza} {how}: {said}"
    if code == LOCKED:
        return Locked(problem, "another pgBackRest is at work on this stanza; ask again when it is done")
    if code == STOPPED:
        return Stopped(problem, f"somebody stopped it; when all is well: pgbackrest --stanza={stanza} start")
    return _of_repository(problem, said, code) or NotRecovered(problem, _hint(code))


def _of_repository(problem: str, said: str, code: int | None) -> RecoveryError | None:
    """A refusal of S3's comes under several codes, inside other messages."""
    if UNREADABLE.search(said):
        return Damaged(problem, DAMAGED_HINT)
    if REFUSED_BY_S3.search(said):
        return Refused(problem, "are the key, the bucket and the endpoint in pgbackrest.conf right, and not revoked?")
    if code in AWAY:
        return Unavailable(problem, "does the repository answer? see its host, and pgBackRest's log on the database's")
    if "ProtocolError" in said or "HostConnectError" in said or "ServiceError" in said:
        return Unavailable(problem, "does the repository answer? see its host, and pgBackRest's log on the database's")
    if code in MISSING:
        return NoStanza(problem, "is the stanza in that repository? pgbackrest info tells; stanza-create makes it")
    if code in DATABASE:
        return Unavailable(problem, "does PostgreSQL run there, and may its owner log in by the socket?")
    return None


def _hint(code: int | None) -> str:
    if code == ARCHIVE_LATE:
        return "archiving does not work: see archive_command, PostgreSQL's log, and pg_stat_archiver"
    if code == LABELS:
        return "was a newer set removed by hand, or the clock set back? a full backup begins anew: --kind full"
    if code in DAMAGED:
        return DAMAGED_HINT
    return "see pgBackRest's log on that host"


def condensed(said: str) -> str:
    """What went wrong, without the headers of the request that it prints, and without its hints."""
    lines = [line.strip() for line in said.splitlines()]
    told = [found[1] if (found := CODE.search(line)) else line for line in lines if TELLING.search(line)]
    text = "; ".join(dict.fromkeys(told)) or " ".join(lines).strip() or "it said nothing"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def holders(postgres: Postgres) -> str:
    """Who is at work on the stanza there, for a person who waits for it."""
    told = postgres.sh(HOLDERS, postgres.stanza, str(postgres.backups.config))
    return "; ".join(line.strip() for line in told.splitlines()) or "nobody there"

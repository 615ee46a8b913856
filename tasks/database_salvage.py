"""The WAL that was not archived yet: of the dead server, else of its standby. With it nothing acknowledged is lost.

It may be older than the newest segment in the archive: on the timeline that a recovery has left, a server that was
stopped has archived its last one, too. Without ours PostgreSQL would read that, and go on along what was given up.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from runbooks.errors import RecoveryError
from tasks import database_server, database_wal
from tasks.cases import Case
from tasks.database_server import Postgres

KEEP = """
mkdir -p "$2"
exec 9<"$2"; flock 9
[ ! -e "$2/.kept" ] || exit 0
if [ -d "$1" ]; then find "$1/" -maxdepth 1 -type f -name '[0-9A-F]*' -exec mv -f -t "$2" {} +; fi
: >"$2/.kept"
"""
"""Not marked as kept unless every file was moved: a full disk is seen, where pg_wal lies on another one. One at a time,
as of a killed attempt."""
HAS_ANY = """ls "$1" 2>/dev/null | grep -Eq '^[0-9A-F]{24}$' && echo yes || true"""
SEGMENTS = """
cd "$1" 2>/dev/null || exit 0
for segment in *; do
    case $segment in *[!0-9A-F]*) continue ;; esac
    [ ${#segment} -eq 24 ] || continue
    echo "$segment $(stat --format=%s "$segment") $(od -An -t u8 -j 8 -N 8 "$segment")"
done
"""
"""With their sizes, and the position in the WAL that the first page of each says it is of."""
COPY = """
from=$1 to=$2; shift 2
rm -rf "$to"; mkdir -m 700 "$to"; cd "$from"
for history in *.history; do [ ! -e "$history" ] || set -- "$@" "$history"; done
[ $# -eq 0 ] || cp -p -t "$to" -- "$@"
"""
PUT_IN = 'find "$1/" -type f -exec mv -f -t "$2" {} + && rm -r "$1"'
COPY_WITHIN = timedelta(minutes=10)


def keep(postgres: Postgres, source: str, target: str) -> None:
    """The WAL of *source*, which a delta restore empties, lies in *target*."""
    postgres.sh(KEEP, source, target, within=COPY_WITHIN)


def segments(postgres: Postgres, folder: str) -> list[str]:
    """Those in *folder*. Those that only wait for their use again, under a name that is still to come, are none: what
    they hold is old."""
    told = [line.split() for line in postgres.sh(SEGMENTS, folder).splitlines()]
    return [name for name, size, *at in told if not at or int(at[0]) == _position(name, int(size))]


def unarchived(postgres: Postgres, folder: str) -> list[str]:
    """Those in *folder* that the archive does not have. Raises: Unavailable: the repository does not answer."""
    found = segments(postgres, folder)
    there = database_wal.archived(postgres, {name[:16] for name in found})
    return [name for name in found if name not in there]


def in_archives(postgres: Postgres) -> list[str]:
    """Those in archives of its own, which a recovery asks as well as the repository: a copy's."""
    return [name for folder in postgres.archives for name in segments(postgres, folder)]


def within_reach(case: Case, postgres: Postgres) -> list[str]:
    """The segments that could be put in: of the server itself, else of the first standby that tells; of a copy also
    those in its own archive."""
    own = [*segments(postgres, f"{postgres.data}/pg_wal"), *in_archives(postgres)]
    for server in database_server.database_of(case).standbys if not own else ():
        try:
            with database_server.standby(case, server) as one:
                return segments(one, f"{one.data}/pg_wal")
        except RecoveryError as error:
            case.event(f"no WAL from standby {server.host}: {error.problem}")
    return own


def _position(name: str, size_bytes: int) -> int:
    return (int(name[8:16], 16) << 32) + int(name[16:24], 16) * size_bytes


def best(case: Case, postgres: Postgres, own: str) -> str | None:
    """The folder with the newest WAL: *own*, or one beside it with what a standby has received and nobody else has."""
    if postgres.sh(HAS_ANY, own):
        return own
    for server in database_server.database_of(case).standbys:
        try:
            with database_server.standby(case, server) as one:
                _fetch(case, one, postgres, own)
                return own
        except RecoveryError as error:
            case.event(f"no WAL from standby {server.host}: {error.problem}")
    return None


def _fetch(case: Case, standby: Postgres, primary: Postgres, folder: str) -> None:
    """A standby's newest segment is as long as what it has received: the rest of it is zeros or old, which ends the
    replay there."""
    found = segments(standby, f"{standby.data}/pg_wal")
    there = database_wal.archived(primary, {name[:16] for name in found})
    missing = [name for name in found if name not in there]
    case.event(f"salvaging {len(missing)} segments of WAL from standby {standby.server.host}")
    draft = f"{folder}.draft"
    primary.sh('rm -rf "$1"; mkdir -p "$1"', draft)
    for name in missing:
        content = standby.shell.read(f"{standby.data}/pg_wal/{name}", user=standby.server.user, within=COPY_WITHIN)
        primary.shell.write(f"{draft}/{name}", content, user=primary.server.user)
    primary.sh('[ ! -d "$2" ] || mv -T "$2" "$2.empty"; mv -T "$1" "$2"', draft, folder)  # whole or not at all


def copy(postgres: Postgres, folder: str, missing: Sequence[str]) -> None:
    """What the archive does not have lies ready, beside *folder*; with the histories of timelines."""
    postgres.sh(COPY, folder, _ready(folder), *missing, within=COPY_WITHIN)


def put_in(case: Case, postgres: Postgres, folder: str, missing: Sequence[str]) -> None:
    """What was copied lies in pg_wal, where recovery looks for it after the archive."""
    case.write(f"put {len(missing)} segments of salvaged WAL into pg_wal", host=postgres.server.host, folder=folder)
    postgres.sh(PUT_IN, _ready(folder), f"{postgres.data}/pg_wal", within=COPY_WITHIN)


def _ready(folder: str) -> str:
    return f"{folder}.salvaged"

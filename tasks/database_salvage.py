"""The WAL that was not archived yet: of the dead server, else of its standby. With it nothing acknowledged is lost."""

from __future__ import annotations

from datetime import timedelta

from runbooks.errors import RecoveryError
from tasks import database_backups, database_server
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
NEWER = """
cd "$1" 2>/dev/null || exit 0
for segment in *; do
    case $segment in *[!0-9A-F]*) continue ;; esac
    [ ${#segment} -eq 24 ] && [ "${segment#????????}" \\> "${2#????????}" ] || continue
    echo "$segment $(stat --format=%s "$segment") $(od -An -t u8 -j 8 -N 8 "$segment")"
done
"""
"""With their sizes, and the position in the WAL that the first page of each says it is of."""
PUT_IN = 'to=$1; shift; cp -p -t "$to" -- "$@"'
COPY_WITHIN = timedelta(minutes=10)
NOTHING = "0" * 24


def keep(postgres: Postgres, source: str, target: str) -> None:
    """The WAL of *source*, which a delta restore empties, lies in *target*."""
    postgres.sh(KEEP, source, target, within=COPY_WITHIN)


def newer(postgres: Postgres, folder: str, archived: str) -> list[str]:
    """The segments in *folder* that are behind *archived*. Those that only wait for their use again, under a name that
    is still to come, are none: what they hold is old."""
    told = [line.split() for line in postgres.sh(NEWER, folder, archived).splitlines()]
    return [name for name, size, *at in told if not at or int(at[0]) == _position(name, int(size))]


def _position(name: str, size_bytes: int) -> int:
    return (int(name[8:16], 16) << 32) + int(name[16:24], 16) * size_bytes


def best(case: Case, postgres: Postgres, own: str) -> str | None:
    """The folder with the newest WAL: *own*, or one beside it with what a standby has received and nobody else has."""
    if postgres.sh(HAS_ANY, own):
        return own
    database = database_server.database_of(case)
    archived = database_backups.read(postgres).newest_wal or NOTHING
    for server in database.standbys:
        try:
            with database_server.standby(case, server) as one:
                _fetch(case, one, postgres, own, archived)
                return own
        except RecoveryError as error:
            case.event(f"no WAL from standby {server.host}: {error.problem}")
    return None


def _fetch(case: Case, standby: Postgres, primary: Postgres, folder: str, archived: str) -> None:
    """A standby's newest segment is as long as what it has received: the rest of it is zeros or old, which ends the
    replay there."""
    missing = newer(standby, f"{standby.data}/pg_wal", archived)
    case.event(f"salvaging {len(missing)} segments of WAL from standby {standby.server.host}")
    draft = f"{folder}.draft"
    primary.sh('rm -rf "$1"; mkdir -p "$1"', draft)
    for name in missing:
        content = standby.shell.read(f"{standby.data}/pg_wal/{name}", user=standby.server.user, within=COPY_WITHIN)
        primary.shell.write(f"{draft}/{name}", content, user=primary.server.user)
    primary.sh('[ ! -d "$2" ] || mv -T "$2" "$2.empty"; mv -T "$1" "$2"', draft, folder)  # whole or not at all


def put_in(case: Case, postgres: Postgres, folder: str, archived: str | None) -> None:
    """What the archive does not have lies in pg_wal, where recovery looks for it after the archive."""
    missing = newer(postgres, folder, archived or NOTHING)
    case.write(f"put {len(missing)} segments of salvaged WAL into pg_wal", host=postgres.server.host, folder=folder)
    if missing:
        paths = [f"{folder}/{name}" for name in missing]
        postgres.sh(PUT_IN, f"{postgres.data}/pg_wal", *paths, within=COPY_WITHIN)

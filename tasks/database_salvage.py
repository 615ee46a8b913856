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
if [ -d "$1" ]; then find "$1" -maxdepth 1 -type f -name '[0-9A-F]*' -exec cp -p -t "$2" {} +; fi
: >"$2/.kept"
"""
"""Not marked as kept unless every file was copied: a full disk is seen. One at a time, as of a killed attempt."""
SEGMENTS = """ls "$1" 2>/dev/null | grep -E '^[0-9A-F]{24}$' | sort || true"""
COPY_WITHIN = timedelta(minutes=10)
NOTHING = "0" * 24


def keep(postgres: Postgres, source: str, target: str) -> None:
    """The segments of *source* lie in *target*, too; copied once."""
    postgres.sh(KEEP, source, target, within=COPY_WITHIN)


def segments(postgres: Postgres, folder: str) -> list[str]:
    return postgres.sh(SEGMENTS, folder).split()


def best(case: Case, postgres: Postgres, own: str) -> str | None:
    """The folder with the newest WAL: *own*, or one beside it with what a standby has received and nobody else has."""
    if segments(postgres, own):
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
    newer = [s for s in segments(standby, f"{standby.data}/pg_wal") if s[8:] > archived[8:]]
    case.event(f"salvaging {len(newer)} segments of WAL from standby {standby.server.host}")
    draft = f"{folder}.draft"
    primary.sh('rm -rf "$1"; mkdir -p "$1"', draft)
    for name in newer:
        content = standby.shell.read(f"{standby.data}/pg_wal/{name}", user=standby.server.user, within=COPY_WITHIN)
        primary.shell.write(f"{draft}/{name}", content, user=primary.server.user)
    primary.sh('[ ! -d "$2" ] || mv -T "$2" "$2.empty"; mv -T "$1" "$2"', draft, folder)  # whole or not at all


def put_in(case: Case, postgres: Postgres, folder: str) -> None:
    """What the archive does not have lies in pg_wal, where recovery looks for it after the archive."""
    archived = database_backups.read(postgres).newest_wal or NOTHING
    newer = [s for s in segments(postgres, folder) if s[8:] > archived[8:]]
    case.write(f"put {len(newer)} segments of salvaged WAL into pg_wal", host=postgres.server.host, folder=folder)
    for name in newer:
        postgres.sh('cp -p "$1" "$2/pg_wal/"', f"{folder}/{name}", postgres.data)

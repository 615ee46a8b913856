"""What a delta restore is going to change in a data directory, set aside before it does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from tasks.database_backups import BackupSet
from tasks.database_server import Postgres

WITHIN = timedelta(hours=1)
SET_ASIDE = """
cd "$1"; aside=$2 since=$3 checksums=$4 damaged=$5; shift 5
mkdir -p -m 700 "$aside"
exec 9<"$aside"; flock 9
[ ! -e "$aside/.complete" ] || exit 0
"$@" >"$aside/.manifest" || : >"$aside/.manifest"
{
    find . -type f ! -path './pg_wal/*' -newermt "$since" -printf '%P\\t%s\\t%Ts\\n' |
    awk -F '\\t' -v set="$aside/.manifest" '
        BEGIN { while ((getline line < set) > 0) if (match(line, /^pg_data\\/[^=]*=/)) {
            name = substr(line, 9, RLENGTH - 9)
            sub(/.*[{,]"size":/, "", line); size = line; sub(/[,}].*/, "", size)
            sub(/.*"timestamp":/, "", line); sub(/[,}].*/, "", line); held[name] = size FS line } }
        held[$1] != $2 FS $3 { print $1 }'
    for file in $damaged; do
        if [ -e "$file.1" ] && said=$("$checksums" --check --filenode="${file##*/}" --pgdata=. 2>&1 || true) &&
            case $said in *'Bad checksums:'*) ;; *) false ;; esac; then
            printf '%s\\n' "$said" | sed -n 's/.*verification failed in file "\\.\\/\\([^"]*\\)".*/\\1/p'
        else
            for one in "$file" "$file".* "$file"_*; do [ ! -f "$one" ] || printf '%s\\n' "$one"; done
        fi
    done
} | sort -u | tr '\\n' '\\0' >"$aside/.changed"
link=--link
if [ "$(stat --format=%d .)" != "$(stat --format=%d "$aside")" ]; then
    link=; bytes=$(xargs -0 -r stat --format=%s <"$aside/.changed" | awk '{ sum += $1 } END { print sum + 0 }')
    free=$(df --output=avail --block-size=1 "$aside" | tail -n 1)
    [ "$free" -gt "$bytes" ] || { echo "what changes is $bytes bytes, $free are free there" >&2; exit 1; }
fi
grep -zvxE 'global/pg_control|PG_VERSION' "$aside/.changed" >"$aside/.moved" || true
xargs -0 -r cp -pf $link --parents -t "$aside" <"$aside/.moved"
xargs -0 -r rm -f <"$aside/.moved"
for file in global/pg_control PG_VERSION; do [ ! -f "$file" ] || cp -pf --parents -t "$aside" "$file"; done
: >"$aside/.complete"
"""
"""Moved, not copied: pgBackRest fetches them anew in any case, and a copy takes its time from the outage, and room.

Those that are newer than the backup and not as its manifest has them: a checkpoint begins a backup, so many are as new
as it, and unchanged. Of a damaged relation with many files only those with a wrong checksum, as far as that is known.
What names the database stays: each step that follows looks whose directory it is. The same of a killed attempt may
still be at work there: it is waited for, or it would move what is restored already.
"""


def set_aside(postgres: Postgres, backup: BackupSet, aside: str, damaged: Sequence[str]) -> None:
    """What differs from *backup*, and the files of the relations *damaged*, lie in *aside* alone.

    Raises:
        Refused: there is no room, where it is another disk; nothing was moved.
    """
    manifest = f"backup/{postgres.stanza}/{backup.label}/backup.manifest"
    postgres.sh(
        SET_ASIDE, postgres.data, aside, backup.started_at.isoformat(), postgres.program("pg_checksums"),
        " ".join(damaged), *postgres.pgbackrest_command("repo-get", manifest), within=WITHIN,
    )  # fmt: skip

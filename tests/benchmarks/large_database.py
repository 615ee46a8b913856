"""A database of 6 GB in a lab of its own, one full backup set of it, and what a person types to bring it back."""

from __future__ import annotations

from random import Random

from tests.database.the_database import TheDatabase

TABLES = tuple(f"bulk_{number}" for number in range(24))
"""Of 2 GB all are back within 4 s on a good disk: what is measured then is how long programs take to start."""
PAGES = 32_768
ROWS = 4 * PAGES
"""Of 1.9 kB, four to a page: 256 MiB a table."""
FILL = """begin; create table {table} (id int, body text);
copy {table} from program $$perl -MDigest::MD5=md5_hex -e '
    print "$_\\t", md5_hex("{table} $_") x 58, "\\n" for 1..{rows}'$$ with (freeze);
commit"""
"""Frozen rows: to read them writes nothing."""
BARE = """
programs=$1 data=$2 log=$3 kind=$4; shift 4
"$programs/pg_ctl" --pgdata="$data" --mode=fast --wait stop >/dev/null
case $kind in
    full) mv -T "$data" "$data.aside"; mkdir -m 700 "$data"; "$@" restore ;;
    delta) "$@" --delta restore ;;
    immediate) "$@" --delta --type=immediate --target-action=promote restore ;;
esac
"$programs/pg_ctl" --pgdata="$data" --log="$log" --wait start >/dev/null
until [ "$("$programs/psql" -qAtX -d postgres -c 'select pg_is_in_recovery()')" = f ]; do sleep 0.1; done
"""
"""Until it takes writes, as with ours: `pg_ctl` returns at consistency, when the WAL is still to be replayed."""
SPOIL = """
file=$1; shift
for page in "$@"; do
    dd if=/dev/urandom of="$file" bs=4096 seek=$((page * 2 + 1)) count=1 conv=notrunc status=none
done
"""


def fill(lab: TheDatabase) -> None:
    """With the tables, and a full set that holds them. Their WAL is not archived: nobody restores an older set. The
    standby is down: it would replay all of them, too."""
    lab.stop("b")
    for statement in ("alter system set archive_command = '/bin/true'", "select pg_reload_conf()"):
        lab.sql(statement)
    for table in TABLES:
        lab.sql(FILL.format(table=table, rows=ROWS), seconds=300)
    for statement in ("alter system reset archive_command", "select pg_reload_conf()"):
        lab.sql(statement)
    lab.pgbackrest("--type=full", "backup", seconds=600)


def bare(lab: TheDatabase, kind: str) -> None:
    """Stop, `pgbackrest restore` of the newest set, start, wait: by one shell on the host itself. Of all files: beside
    the old directory, as anybody would who may need it again."""
    where = f'export PGHOST="{lab.folder() / "run"}" PGPORT="{lab.port()}" PGUSER=postgres'
    arguments = (lab.programs, str(lab.data), str(lab.log), kind, *lab.pgbackrest_command())
    lab.on_host(f"{where}\n{BARE}", *arguments, seconds=600)


def forget(lab: TheDatabase) -> None:
    """What the bare tool's user has set aside: the next one needs the room."""
    lab.on_host('rm -rf "$1"', f"{lab.data}.aside", seconds=120)


def rewind(lab: TheDatabase) -> None:
    """To the end of the set, on a timeline that begins there: no recovery that follows replays what those before it
    have written."""
    bare(lab, "immediate")


def spoil(lab: TheDatabase, chance: Random) -> str:
    """Three pages of one table are rubbish, as a failing disk leaves them; the server runs again. Returns its name."""
    table, pages = chance.choice(TABLES), sorted(chance.sample(range(PAGES), 3))
    file = lab.sql(f"select pg_relation_filepath('{table}')")
    lab.stop()
    lab.on_host(SPOIL, str(lab.data / file), *(str(page) for page in pages))
    lab.start()
    return table


def is_whole(lab: TheDatabase) -> bool:
    """Every row of every table can be read."""
    return all(lab.sql(f"select count(body) from {table}", seconds=120) == str(ROWS) for table in TABLES)

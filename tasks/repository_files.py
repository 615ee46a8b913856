"""All files of a pgBackRest repository, read and compared with their checksums, by pgBackRest itself."""

from __future__ import annotations

import re
from datetime import timedelta

from tasks import database_backups, pgbackrest
from tasks.database_server import Postgres

READING = timedelta(hours=6)
"""Of a large repository."""
STATUS = re.compile(r"^status: (\w+)$", re.MULTILINE)
BAD = re.compile(
    r"^.*(?:checksum invalid|missing|size invalid|other): (?!0\b).*$|^.*status: (?!valid|ok|in-progress).*$",
    re.MULTILINE,
)


def verified(postgres: Postgres) -> str:
    """`ok`, or what is wrong. Read once more when a set expired meanwhile: its files are missed, for no harm."""
    before = database_backups.read(postgres).sets
    said = _read_all(postgres)
    after = {one.label for one in database_backups.read(postgres).sets}
    expired = any(one.label not in after for one in before)
    return _read_all(postgres) if said != "ok" and expired else said


def _read_all(postgres: Postgres) -> str:
    """`ok`, or what pgBackRest finds in its files. It ends with 0 in any case, and says nothing if it can read none."""
    done = pgbackrest.run(postgres, pgbackrest.SOON, "--output=text", "--verbose", "verify", within=READING)
    status = STATUS.search(done.text)
    if status is None:
        return f"it said nothing of the stanza: {done.said}"
    bad = "; ".join(dict.fromkeys(found[0].strip() for found in BAD.finditer(done.text)))
    return "ok" if status[1] == "ok" and not bad else (bad or f"status: {status[1]}")[:500]

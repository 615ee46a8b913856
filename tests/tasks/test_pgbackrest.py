"""How a pgBackRest command failed. The words are those of 2.45, cut from the lab."""

from __future__ import annotations

import pytest

from runbooks.errors import NotRecovered, RecoveryError, Refused, Unavailable
from tasks import pgbackrest
from tasks.pgbackrest import Locked, NoStanza, Stopped

FORBIDDEN = """ERROR: [039]: HTTP request failed with 403 (Forbidden):
       *** Path/Query ***:
       GET /pgbackrest/?delimiter=%2F&list-type=2&prefix=pgbackrest%2Fbackup%2F
       *** Request Headers ***:
       authorization: <redacted>
       *** Response Content ***:
       <Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated …</Message></Error>
       HINT: is archive_command configured correctly in postgresql.conf?"""
WRAPPED = """ERROR: [055]: unable to load info file '/a/archive.info' or '/a/archive.info.copy':
       ProtocolError: HTTP request failed with 403 (Forbidden):
       HINT: has a stanza-create been performed?"""
REFUSED = "ERROR: [049]: unable to connect to 'localhost:9': [111] Connection refused"


@pytest.mark.parametrize(
    ("code", "said", "kind"),
    [
        (50, "ERROR: [050]: unable to acquire lock on file '/lock/lab-backup.lock': Resource temporarily …", Locked),
        (62, "ERROR: [062]: stop file exists for stanza lab", Stopped),
        (37, "ERROR: [037]: backup command requires option: pg1-path\n       HINT: does this stanza exist?", NoStanza),
        (55, "ERROR: [055]: unable to load info file", NoStanza),
        (55, WRAPPED, Refused),
        (39, FORBIDDEN, Refused),
        (49, REFUSED, Unavailable),
        (39, "ERROR: [039]: HTTP request failed with 503 (Slow Down):", Unavailable),
        (56, "ERROR: [056]: unable to connect to 'dbname=postgres': could not connect to server", Unavailable),
        (82, "ERROR: [082]: WAL segment 000000010000000000000005 was not archived before the 60000ms", NotRecovered),
        (26, "ERROR: [026]: error restoring '/data/base/1': actual checksum does not match", NotRecovered),
        (999, "ERROR: [999]: a code of the future", NotRecovered),
        (None, "", NotRecovered),
    ],
)
def test_failed(code: int | None, said: str, kind: type[RecoveryError]) -> None:
    """By the code, but for a refusal of S3's, which comes under several; what is not known is no success."""
    error = pgbackrest.failed("lab", "backup", code, "ended", said.encode())
    assert type(error) is kind
    assert error.problem.startswith("pgbackrest backup of stanza lab ended: ")


def test_what_is_told() -> None:
    """The cause, in a line: neither the headers of the request, nor hints that lead elsewhere."""
    assert pgbackrest.condensed(FORBIDDEN) == (
        "ERROR: [039]: HTTP request failed with 403 (Forbidden):; SignatureDoesNotMatch"
    )
    assert pgbackrest.condensed("") == "it said nothing"
    assert len(pgbackrest.condensed("ERROR: " + "x" * 9000)) < 600

"""Which server of a database is its primary: the world says so, since an earlier run may have promoted a standby."""

from __future__ import annotations

from runbooks import database_values
from runbooks.errors import RecoveryError, Refused
from runbooks.hosts import Server
from runbooks.model import Model
from runbooks.site import Database, Site
from tasks import database_server
from tasks.cases import Case
from tasks.steps import step


class Roles(Model):
    """`primary`: the host of the server that takes writes, or that did before it broke."""

    primary: str


@step
def find(case: Case) -> Roles:
    """It is known which server is the primary: the one that is not in recovery; the site file's when none answers so.

    Raises:
        Refused: two servers take writes. Reads only.
    """
    database = database_server.database_of(case)
    primary = leader(case.site, database)
    if database.server is not None and primary != database.server.host:
        case.event(f"{primary} is the primary, not {database.server.host}, which the site file names")
    return Roles(primary=primary)


def as_led(site: Site, name: str) -> Database:
    """The database of that name, with the server that leads it now as its primary. Raises: as `find`."""
    database = database_server.backed_up(site, name)
    return database_values.led_by(database, leader(site, database))


def leader(site: Site, database: Database) -> str:
    """The host of the one that takes writes; of the site file's, when none does. Raises: as `find`. Reads only."""
    assert database.server is not None
    leading = [s.host for s in (database.server, *database.standbys) if _leads(site, database, s)]
    if len(leading) > 1:
        raise Refused(
            f"{' and '.join(leading)} both are primaries of {database.name}",
            "clients may write to either: stop the one that ought not to be, and compare what it has taken since",
        )
    return leading[0] if leading else database.server.host


def _leads(site: Site, database: Database, server: Server) -> bool:
    """A server that is down leads nobody."""
    try:
        with database_server.connected(site, database, server) as one:
            return one.value("select pg_is_in_recovery()") == "f"
    except RecoveryError:
        return False

"""PostgreSQL, found by name; every answer comes within half a second or not at all."""

import queue
from typing import Any

import pg8000.native

from .names import Names
from .settings import DownError, Settings

ANSWER_WITHIN_SECONDS = 0.5  # with 0.2 s for DNS, what remains below the 0.8 s of /health
BROKEN = (pg8000.native.Error, OSError)


class Database:
    """Runs one statement at a time in its own transaction; keeps a few connections, all to the present address."""

    def __init__(self, settings: Settings, names: Names) -> None:
        self._settings = settings
        self._names = names
        self._idle: queue.SimpleQueue[tuple[str, pg8000.native.Connection]] = queue.SimpleQueue()

    def run(self, sql: str, **values: Any) -> list[list[Any]]:
        """Rows of *sql*. It may be sent twice when an idle connection proves dead, so it must be idempotent."""
        try:
            address = self._names.address(self._settings.db_host)
            kept = self._take(address)
            if kept is not None:
                try:
                    return self._use(address, kept, sql, values)
                except TimeoutError:
                    raise
                except BROKEN:  # restarted or promoted since: a fresh connection tells the truth
                    pass
            return self._use(address, self._connect(address), sql, values)
        except BROKEN as error:
            raise DownError(f"database {self._settings.db_host}: {_why(error)}") from error

    def _take(self, address: str) -> pg8000.native.Connection | None:
        while not self._idle.empty():
            try:
                where, connection = self._idle.get_nowait()
            except queue.Empty:
                return None
            if where == address:
                return connection
            _close(connection)  # the record points elsewhere now
        return None

    def _connect(self, address: str) -> pg8000.native.Connection:
        wanted = self._settings
        return pg8000.native.Connection(
            wanted.db_user,
            host=address,
            port=wanted.db_port,
            database=wanted.db_name,
            password=wanted.db_password,
            timeout=ANSWER_WITHIN_SECONDS,
            ssl_context=False,
            application_name="orders",
        )

    def _use(
        self, address: str, connection: pg8000.native.Connection, sql: str, values: dict[str, Any]
    ) -> list[list[Any]]:
        try:
            rows: list[list[Any]] = connection.run(sql, **values) or []
        except BROKEN:
            _close(connection)
            raise
        self._idle.put((address, connection))
        return rows


def _close(connection: pg8000.native.Connection) -> None:
    try:
        connection.close()
    except BROKEN:
        return  # it was broken: nothing left to end


def _why(error: BaseException) -> str:
    """The server's own message, or the network's; pg8000 hides the latter behind its own words."""
    said = error.args[0] if error.args else error
    if isinstance(said, dict):
        return str(said.get("M", said))
    return str(error.__cause__ or error)

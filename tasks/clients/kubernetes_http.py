"""Requests to an API server as raw JSON: strict, quick, and nothing is sent twice by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

import urllib3
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject

from runbooks.errors import Unavailable
from tasks.clients.kubernetes_errors import from_status, translated

Object = dict[str, Any]
Objects = list[Object]
T = TypeVar("T")
CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
READS_WITHIN = timedelta(seconds=10)
PAUSE_SECONDS = 0.5


def reading(look: Callable[[], T], *, within: timedelta = READS_WITHIN) -> T:
    """Ask again while there is no answer, every half second; for reads only.

    Raises: whatever *look* raises, Unavailable only when *within* is over.
    """
    end = time.monotonic() + within.total_seconds()
    while True:
        try:
            return look()
        except Unavailable:
            if time.monotonic() + PAUSE_SECONDS >= end:
                raise
            time.sleep(PAUSE_SECONDS)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str | int] | None = None
    body: Any = None
    content_type: str = "application/json"
    read_seconds: float = READ_SECONDS

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes
    date: datetime | None


class Transport:
    """One API server. Safe to use from several threads."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.server: str = configuration.host
        with translated(self.server):
            self._pool: urllib3.PoolManager = RESTClientObject(configuration).pool_manager

    def close(self) -> None:
        self._pool.clear()

    def headers(self) -> dict[str, str]:
        """Log-in; asks for a new token when the old one has run out."""
        token = self.configuration.auth_settings().get("BearerToken")
        return {token["key"]: str(token["value"])} if token else {}

    def ask(self, request: Request) -> Response:
        """The answer, whatever its status. Raises: Unavailable: there was none in time; Refused: wrong log-in."""
        with translated(self.server), closing(self._sent(request)) as answer:
            body = answer.read()
        return Response(answer.status, body, _date(answer.headers.get("Date")))

    def json(self, request: Request) -> Object:
        """The object that was answered. Raises: as `from_status` says, by the answer's status."""
        answer = self.ask(request)
        if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
            raise from_status(answer.status, answer.body, str(request))
        return _object(answer.body, request)

    def lines(self, request: Request) -> Iterator[Object]:
        """One object a line, as they come."""
        with translated(self.server), closing(self._sent(request)) as answer:
            if answer.status != HTTPStatus.OK:
                raise from_status(answer.status, answer.read(), str(request))
            rest = b""
            while chunk := answer.read1(64 * 1024):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (_object(line, request) for line in whole if line)

    def _sent(self, request: Request) -> urllib3.BaseHTTPResponse:
        url = f"{self.server}{request.path}"
        return self._pool.request(
            request.method,
            f"{url}?{urlencode(request.query)}" if request.query else url,
            body=None if request.body is None else json.dumps(request.body).encode(),
            headers={"Accept": "application/json", "Content-Type": request.content_type, **self.headers()},
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=request.read_seconds),
            retries=False,
            redirect=False,
            preload_content=False,
        )


def _object(body: bytes, request: Request) -> Object:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise Unavailable(f"{request}: the answer is not JSON", "is something else behind this address?") from error
    if not isinstance(found, dict):
        raise Unavailable(f"{request}: the answer is not an object", "is something else behind this address?")
    return found


def _date(text: str | None) -> datetime | None:
    return parsedate_to_datetime(text).astimezone(UTC) if text else None

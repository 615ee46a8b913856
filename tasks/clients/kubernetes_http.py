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
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

import urllib3
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject

from runbooks.errors import RecoveryError, Unavailable
from tasks.clients.kubernetes_errors import from_status, translated

Object = dict[str, Any]
Objects = list[Object]
T = TypeVar("T")
CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
READS_WITHIN = timedelta(seconds=10)
PAUSE_SECONDS = 0.5


class Contact(Protocol):
    """The way to an API server over all the connections of a run, from whatever thread."""

    def answered(self) -> None: ...

    def failed(self, error: Unavailable, for_seconds: float) -> float:
        """A read has had no answer for so long. Returns for how many seconds more it may be asked again."""


class _NoContact:
    def answered(self) -> None:
        return

    def failed(self, error: Unavailable, for_seconds: float) -> float:
        return READS_WITHIN.total_seconds() - for_seconds


def reading(look: Callable[[], T], *, within: timedelta | None = None, contact: Contact | None = None) -> T:
    """Ask again while there is no answer, every half second; for reads only.

    Raises: whatever *look* raises, Unavailable only when *within* is over, or else what *contact* allows.
    """
    began, known = time.monotonic(), contact or _NoContact()
    while True:
        try:
            answer = look()
        except Unavailable as error:
            gone = time.monotonic() - began
            left = known.failed(error, gone)
            if within is not None:
                left = within.total_seconds() - gone
            if left <= PAUSE_SECONDS:
                raise
            time.sleep(PAUSE_SECONDS)
        except RecoveryError:
            known.answered()
            raise
        else:
            known.answered()
            return answer


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

    def __init__(self, configuration: Configuration, contact: Contact | None = None) -> None:
        self.configuration = configuration
        self.contact = contact
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
        return answered(self.ask(request), request)

    def read(self, request: Request, within: timedelta | None = None) -> Object:
        """As `json`, asked again while there is no answer."""
        return reading(lambda: self.json(request), within=within, contact=self.contact)

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


def answered(answer: Response, request: Request) -> Object:
    """The object in an answer. Raises: as `from_status` says, by the answer's status."""
    if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
        raise from_status(answer.status, answer.body, str(request))
    return _object(answer.body, request)


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

"""HTTP as an outside client sees it: a fresh look at DNS and a fresh connection for every question."""

from __future__ import annotations

import functools
import json as json_text
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import httpx

from runbooks.errors import Refused, Unavailable
from runbooks.model import Json
from runbooks.site import Dns
from tasks.clients import dns as names

HINT = "does it run, and does its name point to the right place?"


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    ms: float

    @property
    def is_success(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def json(self) -> Json:
        """Raises: Unavailable: the answer is not JSON."""
        try:
            return json_text.loads(self.body)  # type: ignore[no-any-return]
        except ValueError as error:
            raise Unavailable(f"the answer (status {self.status}) is not JSON", HINT) from error


class _Remaining(dict[str, float]):
    """What is left of the time: httpx asks for each operation's limit when it begins it."""

    def __init__(self, within: timedelta) -> None:
        super().__init__()
        self._end = time.monotonic() + within.total_seconds()

    def get(self, *_: Any) -> float:
        return max(self._end - time.monotonic(), 0.001)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end


@dataclass(frozen=True)
class _Question:
    method: str
    target: httpx.URL
    headers: Mapping[str, str]
    json: Json = None

    def to(self, address: str, left: _Remaining) -> httpx.Request:
        """Sent to *address*, but with the Host header and the TLS name of the URL."""
        return httpx.Request(
            self.method,
            self.target.copy_with(host=address),
            headers={"Host": self.target.netloc.decode(), **self.headers},
            json=self.json,
            extensions={"timeout": left, "sni_hostname": self.target.host},
        )


def get(url: str, *, within: timedelta, dns: Dns, headers: Mapping[str, str] | None = None) -> Answer:
    """The answer to a GET, whatever its status; redirects are not followed.

    Raises:
        Unavailable: no whole answer *within*.
        Refused: *url* is not one.
    """
    return _ask(_Question("GET", _parsed(url), headers or {}), within, dns)


def post(url: str, json: Json, *, within: timedelta, dns: Dns, headers: Mapping[str, str] | None = None) -> Answer:
    """The answer to a POST of *json*, whatever its status; sent once. Raises: as `get`."""
    return _ask(_Question("POST", _parsed(url), headers or {}, json), within, dns)


def _ask(question: _Question, within: timedelta, dns: Dns) -> Answer:
    """Address after address, as a browser does; only a connection that was never made is tried elsewhere."""
    began, left, target = time.monotonic(), _Remaining(within), question.target
    *others, last = names.resolve(target.host, dns, within=within)
    for address in (*others, last):
        try:
            status, body = _send(question.to(address, left), left)
        except (httpx.HTTPError, ssl.SSLError) as error:
            if address == last or left.is_over or not isinstance(error, httpx.ConnectError):
                raise _unavailable(target, address, error, within) from error
        else:
            return Answer(status, body, round((time.monotonic() - began) * 1000, 1))
    raise Unavailable(f"{shown(target)}: no address", HINT)


def _parsed(url: str) -> httpx.URL:
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Refused(f"a URL of the site is not valid: {error}", "write it as http(s)://host:port/path") from error
    if target.scheme not in ("http", "https") or not target.host:
        raise Refused(f"{shown(target)} is not a web address", "write it as http(s)://host:port/path")
    return target


def _send(request: httpx.Request, left: _Remaining) -> tuple[int, bytes]:
    response = _client().send(request, stream=True)
    try:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if left.is_over:
                raise httpx.ReadTimeout("the answer came too slowly")
        return response.status_code, bytes(body)
    finally:
        response.close()


@functools.cache
def _client() -> httpx.Client:
    """One client, since making a TLS context takes 20 ms; no connection outlives its answer, no proxy is used."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(verify=ssl.create_default_context(), limits=limits, trust_env=False, follow_redirects=False)


def shown(url: httpx.URL) -> str:
    """Without user and query: a presigned URL is a secret."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def _unavailable(target: httpx.URL, address: str, error: Exception, within: timedelta) -> Unavailable:
    if isinstance(error, httpx.TimeoutException):
        why = f"no answer within {within.total_seconds():g} s"
    else:
        why = str(error) or type(error).__name__
    return Unavailable(f"{shown(target)} at {address}: {why}", HINT)

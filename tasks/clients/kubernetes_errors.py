"""The API server's refusals, cut by what the caller does next; no SDK error leaves these modules.

Refused
├── Missing      404
├── Exists       409 AlreadyExists
├── Conflict     409 otherwise, a failed `test` of a JSON patch, a namespace that is being terminated
├── Forbidden    403
└── Unsupported  405
Unavailable      429, 5xx, no connection, no answer in time
├── Expired      410: the version or the page asked for is gone, list again
└── Unheard      the same of what was to be done: nobody knows whether it was
"""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import urllib3.exceptions
import websocket
import yaml
from kubernetes.config import ConfigException

from runbooks.errors import RecoveryError, Refused, Unavailable

LONGEST = 256  # foreign text may hold anything, also secrets


class Missing(Refused):
    """There is no such object, or no such kind."""


class Exists(Refused):
    """There is an object of this name already."""


class Conflict(Refused):
    """The object is not the one, or not as, the caller thinks."""


class Forbidden(Refused):
    """Our account may not do this."""


class Unsupported(Refused):
    """This kind cannot be asked so."""


class Expired(Unavailable):
    """What was asked for is too old."""


class Unheard(Unavailable):
    """A change, or a command, got no answer: it was done or not. Look at the world before it is sent again."""


class TooSlow(Unavailable):
    """A command was heard, and did not end in time."""


@contextlib.contextmanager
def sending() -> Iterator[None]:
    """Of what changes something: no answer leaves as Unheard."""
    try:
        yield
    except TooSlow:
        raise
    except Unavailable as error:
        raise Unheard(error.problem, error.hint) from error


@contextlib.contextmanager
def translated(server: str) -> Iterator[None]:
    """Errors of urllib3, websocket, ssl, sockets and the SDK's configuration leave as ours, cause chained."""
    try:
        yield
    except RecoveryError:
        raise
    except (ConfigException, yaml.YAMLError) as error:
        raise Refused(
            f"no usable configuration for {server}: {clipped(str(error))}",
            "do kubeconfig and context of the site file exist, and does its log-in still work?",
        ) from error
    except (urllib3.exceptions.HTTPError, websocket.WebSocketException, ssl.SSLError, OSError) as error:
        raise _without_answer(server, error) from error


def _without_answer(server: str, error: Exception) -> RecoveryError:
    if isinstance(error, websocket.WebSocketBadStatusException):
        return from_status(error.status_code, error.resp_body or b"", f"exec on {server}")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Refused(
            f"the certificate of {server} is not signed by the CA of the kubeconfig",
            "is another cluster, or a proxy, behind this address?",
        )
    if isinstance(error, OSError) and error.filename is not None:
        hint = "do the files of the kubeconfig exist, and may we read them?"
        return Refused(f"{error.filename}: {error.strerror}", hint)
    what = clipped(str(error)) or type(error).__name__
    return Unavailable(f"no answer from {server}: {what}", "does the API server run, and is it reached from here?")


def from_status(status: int, body: bytes, what: str) -> RecoveryError:
    """The error for an answer that is not 2xx; *what* is the request, such as "GET /api/v1/pods"."""
    said = _said(body)
    text = f"{what}: {status} {clipped(str(said.get('message') or body.decode(errors='replace')))}".strip()
    if status == HTTPStatus.FORBIDDEN:
        return _forbidden(text, said)
    if status == HTTPStatus.CONFLICT and said.get("reason") == "AlreadyExists":
        return Exists(text, "who made it?")
    if status == HTTPStatus.UNPROCESSABLE_ENTITY and not _details(said).get("name"):
        # An object that is not valid is named; a JSON patch that cannot be applied (a failed test) is not.
        return Conflict(text, "it is not as it was; look at it again")
    kind, hint = BY_STATUS.get(status, BY_CLASS[HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR])
    return kind(text, hint)


BY_STATUS: dict[int, tuple[type[RecoveryError], str]] = {
    401: (Refused, "the credentials are not accepted: are they expired, or of another cluster?"),
    404: (Missing, "does it have another name, or was it deleted?"),
    405: (Unsupported, "this kind cannot be asked so"),
    408: (Unavailable, "ask again later"),
    409: (Conflict, "it was changed or recreated meanwhile; look at it again"),
    410: (Expired, "list again"),
    429: (Unavailable, "ask again later"),
}
BY_CLASS: dict[bool, tuple[type[RecoveryError], str]] = {
    True: (Refused, "the API server does not accept the request; is this version of Kubernetes supported?"),
    False: (Unavailable, "the API server, or what lies behind it, is in trouble; see its log"),
}


def _forbidden(text: str, said: dict[str, Any]) -> RecoveryError:
    if any(cause.get("reason") == "NamespaceTerminating" for cause in _details(said).get("causes") or ()):
        return Conflict(text, "the namespace is being deleted; wait until it is gone")
    return Forbidden(text, "grant this right to the runner's account (deployments/server/rbac.yaml)")


def _details(said: dict[str, Any]) -> dict[str, Any]:
    details = said.get("details")
    return details if isinstance(details, dict) else {}


def _said(body: bytes) -> dict[str, Any]:
    """The Status object of an answer, or nothing."""
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def is_status(body: bytes) -> bool:
    """Did the API server itself speak, and not what lies behind its proxy?"""
    said = _said(body)
    return said.get("kind") == "Status" and said.get("apiVersion") == "v1"


def clipped(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"

"""The door to a Kubernetes cluster: `connect`, and no SDK error leaves."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from types import TracebackType
from typing import Self

from runbooks.model import Json, now
from runbooks.site import Cluster
from tasks.clients import kubernetes_config as whom
from tasks.clients import kubernetes_lists as lists
from tasks.clients import kubernetes_paths as paths
from tasks.clients.kubernetes_config import Identity
from tasks.clients.kubernetes_errors import (
    Conflict,
    Exists,
    Forbidden,
    Missing,
    Unheard,
    Unsupported,
    from_status,
    is_status,
    sending,
)
from tasks.clients.kubernetes_exec import Executed, execute
from tasks.clients.kubernetes_http import (
    PAUSE_SECONDS,
    READS_WITHIN,
    Contact,
    Object,
    Objects,
    Request,
    Response,
    Transport,
    answered,
    reading,
)
from tasks.clients.kubernetes_paths import Discovered, Resource, Right

__all__ = [
    "Api", "Conflict", "Contact", "Discovered", "Executed", "Exists", "Forbidden", "Identity", "Missing", "Object",
    "Objects", "Resource", "Right", "Unheard", "Unsupported", "connect", "identify",
]  # fmt: skip

EXEC_WITHIN = timedelta(minutes=5)
CONNECT_WITHIN = timedelta(seconds=5)
REVIEW = "authorization.k8s.io/v1"


def connect(cluster: Cluster, *, within: timedelta = CONNECT_WITHIN, contact: Contact | None = None) -> Api:
    """An API that is proven to be the pinned cluster's.

    Raises:
        Unavailable: no answer *within*, or what *contact* allows where there is one.
        Refused: another cluster is behind the context, or the configuration is not usable.
    """
    api = Api(Transport(whom.load(cluster), contact))
    whom.prove(cluster, api.identity(within if contact is None else None))
    return api


def identify(cluster: Cluster) -> Identity:
    """What the cluster should be pinned to. Reads only. Raises: as `connect`, without comparing."""
    with Api(Transport(whom.load(cluster))) as api:
        return api.identity(CONNECT_WITHIN)


class Api:
    """Raw objects by API version and kind.

    Reads are asked again while there is no answer, for 10 s or as long as the contact of a run allows; writes never.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._skew = timedelta()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def identity(self, within: timedelta | None) -> Identity:
        request = Request("GET", paths.one("v1", "Namespace", "kube-system", None), read_seconds=5)

        def look() -> str:
            asked = now()
            answer = self._transport.ask(request)
            uid = str(answered(answer, request)["metadata"]["uid"])
            self._skew = _skew(answer, asked, now())
            return uid

        uid = reading(look, within=within, contact=self._transport.contact)
        return Identity(self._transport.server, uid, whom.fingerprints(self._transport.configuration))

    def skew(self) -> timedelta:
        """The server's clock minus ours, as it was when we connected."""
        return self._skew

    # -- reads ------------------------------------------------------------------------------------------------------

    def get(self, api_version: str, kind: str, name: str, *, namespace: str | None = None) -> Object:
        """Raises: Missing."""
        request = Request("GET", paths.one(api_version, kind, name, namespace))
        return self._transport.read(request)

    def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str | None = None,
        selector: str | None = None,
        fields: str | None = None,
    ) -> Objects:
        """Raises: Missing: there is no such kind."""
        resource = Resource(api_version, paths.plural(kind), kind)
        return lists.pages(self._transport, resource, namespace, _selectors(selector, fields))[0]

    def list_all(self, resource: Resource, namespace: str) -> Objects:
        """Raises: Unsupported, Forbidden: it cannot be listed."""
        return lists.pages(self._transport, resource, namespace, {})[0]

    def follow(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str | None = None,
        name: str | None = None,
        selector: str | None = None,
        within: timedelta,
    ) -> Iterator[dict[str, Object]]:
        """The objects by name as they are now, and again after each change, until *within* is over.

        Raises:
            Unavailable: there was no answer when the time was up.
        """
        resource = Resource(api_version, paths.plural(kind), kind)
        query = _selectors(selector, f"metadata.name={name}" if name else None)
        return lists.follow(self._transport, resource, namespace, query, within)

    def proxied(
        self, namespace: str, pod: str, port: int, path: str, *, within: timedelta = timedelta(seconds=5)
    ) -> tuple[int, bytes]:
        """Status and body of what the pod itself answers to a GET, through the API server; asked once.

        Raises:
            Unavailable: the pod did not answer.
            Missing: there is no such pod.
        """
        where = f"{paths.one('v1', 'Pod', pod, namespace)}:{port}/proxy/{path.lstrip('/')}"
        request = Request("GET", where, read_seconds=within.total_seconds())
        answer = self._transport.ask(request)
        if answer.status >= HTTPStatus.BAD_REQUEST and is_status(answer.body):
            raise from_status(answer.status, answer.body, str(request))
        return answer.status, answer.body

    def may(self, right: Right) -> bool:
        """Is our account allowed to? Asks the API server; changes nothing."""
        body = {
            "apiVersion": REVIEW,
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": right.attributes},
        }
        request = Request("POST", paths.collection(REVIEW, "selfsubjectaccessreviews", None), body=body)
        return bool(self._transport.read(request)["status"]["allowed"])

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, within: timedelta = EXEC_WITHIN
    ) -> Executed:
        """Run a command in a container, once.

        Raises:
            Missing, Forbidden.
            Unheard: the connection broke.
            Unavailable: it did not end *within*.
        """
        path = f"{paths.one('v1', 'Pod', pod, namespace)}/exec"
        return execute(self._transport, path, container, argv, within)

    def exec_reading(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, within: timedelta = EXEC_WITHIN
    ) -> Executed:
        """As `exec`, of a command that changes nothing: run again when the connection breaks."""
        end: float | None = None
        while True:
            try:
                return self.exec(namespace, pod, container, argv, within=within)
            except Unheard:
                self.get("v1", "Pod", pod, namespace=namespace)  # when the API server is away, it is waited for here
                end = end or time.monotonic() + READS_WITHIN.total_seconds()
                if time.monotonic() >= end:
                    raise
                time.sleep(PAUSE_SECONDS)

    @functools.cached_property
    def discovered(self) -> Discovered:
        return lists.discover(self._transport)

    # -- writes, sent once; Unheard: there was no answer --------------------------------------------------------------

    def create(self, api_version: str, kind: str, body: Object, *, namespace: str | None = None) -> Object:
        """Raises: Exists."""
        path = paths.collection(api_version, paths.plural(kind), namespace)
        with sending():
            return self._transport.json(Request("POST", path, body=body))

    def patch(self, api_version: str, kind: str, name: str, body: Json, *, namespace: str | None = None) -> Object:
        """A merge patch. Raises: Missing; Conflict: its resourceVersion is not the present one."""
        path = paths.one(api_version, kind, name, namespace)
        with sending():
            return self._transport.json(Request("PATCH", path, body=body, content_type="application/merge-patch+json"))

    def json_patch(
        self, api_version: str, kind: str, name: str, operations: Objects, *, namespace: str | None = None
    ) -> Object:
        """All operations or none. Raises: Missing; Conflict: a `test` does not hold."""
        path = paths.one(api_version, kind, name, namespace)
        request = Request("PATCH", path, body=operations, content_type="application/json-patch+json")
        with sending():
            return self._transport.json(request)

    def delete(self, api_version: str, kind: str, name: str, *, uid: str, namespace: str | None = None) -> None:
        """The deletion of exactly the object *uid* has begun. Raises: Missing; Conflict: it has another UID."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        with sending():
            self._transport.json(Request("DELETE", paths.one(api_version, kind, name, namespace), body=options))


def _selectors(selector: str | None, fields: str | None) -> dict[str, str]:
    wanted = {"labelSelector": selector, "fieldSelector": fields}
    return {name: value for name, value in wanted.items() if value}


def _skew(answer: Response, asked: datetime, answered: datetime) -> timedelta:
    """The header holds whole seconds, so it is right to half a second; without one nothing is known: 0."""
    if answer.date is None:
        return timedelta()
    return answer.date + timedelta(seconds=0.5) - (asked + (answered - asked) / 2)

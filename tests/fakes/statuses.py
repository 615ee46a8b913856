"""The API server's refusals, worded as the real ones (k8s.io/apimachinery/pkg/api/errors)."""

from __future__ import annotations

from typing import Any

from tests.fakes.kinds import Resource


class ApiError(Exception):
    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details

    @property
    def body(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }
        return status | ({"details": self.details} if self.details is not None else {})


def _named(resource: Resource, name: str) -> dict[str, Any]:
    group = {"group": resource.group} if resource.group else {}
    return {"name": name, **group, "kind": resource.plural}


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.full} "{name}" not found', _named(resource, name))


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{resource.full} "{name}" already exists', _named(resource, name))


def conflict(resource: Resource, name: str, why: str) -> ApiError:
    text = f'Operation cannot be fulfilled on {resource.full} "{name}": {why}'
    return ApiError(409, "Conflict", text, _named(resource, name))


def invalid(resource: Resource, name: str, field: str, why: str, kind: str = "FieldValueInvalid") -> ApiError:
    group = {"group": resource.group} if resource.group else {}
    cause = {"reason": kind, "message": why, "field": field}
    details = {"name": name, **group, "kind": resource.kind, "causes": [cause]}
    group_kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return ApiError(422, "Invalid", f'{group_kind} "{name}" is invalid: {field}: {why}', details)


def patch_failed(why: str) -> ApiError:
    details = {"causes": [{"reason": "UnexpectedServerResponse", "message": why}]}
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", details)


def bad_request(why: str) -> ApiError:
    return ApiError(400, "BadRequest", why)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(resource: Resource, name: str, why: str, **details: Any) -> ApiError:
    said = f'{resource.full} "{name}" is forbidden: {why}' if name else f"{resource.full} is forbidden: {why}"
    return ApiError(403, "Forbidden", said, _named(resource, name) | details)


def terminating(resource: Resource, name: str, namespace: str) -> ApiError:
    cause = {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated",
             "field": "metadata.namespace"}  # fmt: skip
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    return forbidden(resource, name, why, causes=[cause])


def expired(seen: int, oldest: int) -> ApiError:
    return ApiError(410, "Expired", f"too old resource version: {seen} ({oldest})")


def unavailable(why: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", why)


def unsupported(kind: str) -> ApiError:
    return ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {kind}")


def not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})

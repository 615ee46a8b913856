"""What every object store gives and refuses, whatever it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from runbooks.errors import Refused


@dataclass(frozen=True)
class Object:
    body: bytes
    etag: str


class Exists(Refused):
    """The key is taken: somebody else was first."""


class Changed(Refused):
    """The object is not the one that was read before: somebody else wrote or deleted it."""


class Store(Protocol):
    """Objects by key. Every call raises Unavailable (no answer in time) and Refused (rights, bucket) as well."""

    def put(self, key: str, body: bytes) -> None:
        """Write, whatever was there."""

    def put_if_absent(self, key: str, body: bytes) -> None:
        """Write, as the only one of all who try. Raises: Exists."""

    def put_if_match(self, key: str, body: bytes, etag: str) -> None:
        """Write over exactly what was read with *etag*. Raises: Changed."""

    def get(self, key: str) -> Object | None:
        """The object, or None."""

    def list(self, prefix: str) -> tuple[str, ...]:
        """The keys that begin with *prefix*, sorted."""

    def delete(self, key: str) -> None:
        """Gone afterwards, also when it never was."""

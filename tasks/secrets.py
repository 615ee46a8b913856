"""Secrets are read when they are used and never kept; errors name the reference, never the value."""

from __future__ import annotations

import os
from pathlib import Path

from runbooks.errors import Refused
from runbooks.site import Secret
from tasks.clients import blocks


def read(secret: Secret) -> str:
    """The value that *secret* refers to. Reads only.

    Raises:
        Refused: there is none, or it is empty.
        Unavailable: the Prefect server that keeps it does not answer.
    """
    kind, _, name = secret.where.partition(":")
    value = {"env": _variable, "file": _file, "block": blocks.read}[kind](name)
    if not value:
        raise Refused(f"the secret {secret.where} is missing or empty", _HINTS[kind])
    return value


_HINTS = {
    "env": "set the environment variable for the process that runs this",
    "file": "does the file exist, and may this user read it?",
    "block": "create a Prefect block of type Secret with this name",
}


def _variable(name: str) -> str | None:
    return os.environ.get(name)


def _file(name: str) -> str | None:
    try:
        return Path(name).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        return None

"""A reference to a secret: the site file says where it is, never what it is."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from runbooks.model import Model


class Secret(Model):
    """Where a secret is; it is read when it is used and never kept.

    Written as "env:NAME", "file:PATH" or "block:NAME" (a Prefect Secret block).
    """

    where: str = Field(pattern=r"^(env|file|block):.+$")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"where": value} if isinstance(value, str) else value

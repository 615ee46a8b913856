"""What is wrong with a site file, in the file's own words: key, found value, allowed keys, nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from runbooks.model import Model

Location = Sequence[str | int]
LONGEST_VALUE = 60


def explain(error: ValidationError, top: type[Model], raw: dict[str, Any]) -> list[str]:
    """One line a problem, in the file's order."""
    return [_line(detail, top, raw) for detail in error.errors(include_url=False)]


def _line(detail: ErrorDetails, top: type[Model], raw: dict[str, Any]) -> str:
    where, key = detail["loc"], str(detail["loc"][-1]) if detail["loc"] else ""
    allowed = keys_of(_model_at(top, where[:-1]))
    match detail["type"]:
        case "extra_forbidden":
            return f"{spelled(where, raw)}: unknown key{_nearest(key, allowed)}; allowed here: {', '.join(allowed)}"
        case "missing":
            return f"{spelled(where, raw)}: missing; allowed here: {', '.join(allowed)}"
    if key == "where":  # a secret's value must not be shown, and a person may have written it here in plain
        return f'{spelled(where[:-1], raw)}: must be "env:NAME", "file:PATH" or "block:NAME", never the secret itself'
    return f"{spelled(where, raw)}: {detail['msg'][:1].lower()}{detail['msg'][1:]}; found {_shown(detail['input'])}"


def keys_of(model: type[Model]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _nearest(key: str, allowed: list[str]) -> str:
    found = difflib.get_close_matches(key, allowed, n=1)
    return f", did you mean {found[0]}?" if found else ""


def spelled(where: Location, raw: Any) -> str:
    """The dotted path, list items by their name: applications[orders].probes[health].url."""
    text, value = "", raw
    for part in where:
        value = _item(value, part)
        if isinstance(part, int):
            text += f"[{value['name'] if isinstance(value, dict) and 'name' in value else part}]"
        else:
            text += f".{part}" if text else part
    return text or "the file"


def _item(value: Any, part: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def _model_at(top: type[Model], where: Location) -> type[Model]:
    """The model that stands there; indices and free keys lead to no other model."""
    model = top
    for part in where:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        if part in fields:
            model = _inner(fields[str(part)].annotation) or model
    return model


def _inner(annotation: Any) -> type[Model] | None:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next((model for arg in get_args(annotation) if (model := _inner(arg))), None)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"

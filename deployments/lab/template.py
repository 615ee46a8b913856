"""Texts with @KEY@ in place of what differs between labs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deployments.lab.component import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = re.compile(r"@([A-Z0-9_]+)@")


def fill(template: Path, values: Mapping[str, str]) -> str:
    """The text of *template*, each key replaced by its value."""
    return fill_text(template.read_text(), values, name=str(template))


def fill_text(text: str, values: Mapping[str, str], *, name: str) -> str:
    """Raises: LabError naming the keys of the text called *name* that have no value."""
    if unknown := sorted(set(KEY.findall(text)) - values.keys()):
        raise LabError(f"{name} asks for {', '.join(unknown)}", f"there is: {', '.join(sorted(values))}")
    return KEY.sub(lambda key: values[key[1]], text)

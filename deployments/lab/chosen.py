"""Which lab a command means: that of this checkout, or of the environment."""

from __future__ import annotations

import json
import os
from pathlib import Path

from deployments.lab.component import LabError
from deployments.lab.lab import PROJECT, Lab
from deployments.lab.region_address import LAST_LAB


def at(root: Path, number: int) -> Lab:
    """The lab in *root*, in the shape it was started in."""
    if not 0 <= number <= LAST_LAB:
        raise LabError(f"lab number {number} does not exist", f"DR_LAB_NUMBER is 0 to {LAST_LAB}")
    before = recorded(root)
    only = before.get("only") == "database"
    return Lab(root=root, number=number, only_database=only, has_prefect=not only or before.get("prefect") is True)


def recorded(root: Path) -> dict[str, object]:
    """What `up` wrote down about the lab in *root*; empty when there is none."""
    try:
        return dict(json.loads((root / "lab.json").read_text()))
    except FileNotFoundError:
        return {}


def current() -> Lab:
    """The lab of this checkout (or of DR_LAB_ROOT), with the number it was started with (or DR_LAB_NUMBER, or 0).

    Raises: LabError when DR_LAB_NUMBER contradicts the lab that is up."""
    root = Path(os.environ.get("DR_LAB_ROOT", PROJECT / ".lab")).resolve()
    up = recorded(root).get("number")
    try:
        asked = int(os.environ["DR_LAB_NUMBER"]) if "DR_LAB_NUMBER" in os.environ else None
    except ValueError as error:
        raise LabError("DR_LAB_NUMBER is not a number", f"use 0 to {LAST_LAB}") from error
    if isinstance(up, int) and asked not in (None, up):
        raise LabError(
            f"the lab in {root} is number {up}, DR_LAB_NUMBER says {asked}", "unset it, or dr lab down first"
        )
    return at(root, up if isinstance(up, int) else asked or 0)

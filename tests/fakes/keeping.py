"""A world as it stands, kept beside its files; and others that begin there."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.fakes import core
from tests.fakes.core import Core
from tests.fakes.store import Store

STATE = "state"
FOLDERS = ("volumes", "bucket")
CERTIFICATES = ("server.pem", "ca.pem")


def keep(world: Core) -> None:
    """When nothing is under way; the world is to end now, and its directory to stay."""
    with world.store.changed:
        state = (str(world.directory), world.store.kept(), world.timers, world.notes, world.settings)
        (world.directory / STATE).write_bytes(pickle.dumps(state))


def begin(kept: Path, directory: Path) -> Core:
    """Same objects, UIDs and files, same clocks of its controllers; what names the old directory names the new one."""
    for name in FOLDERS:
        if (kept / name).exists():
            shutil.copytree(kept / name, directory / name)  # with the files' times, which a backup's manifest tells
    for name in CERTIFICATES:
        shutil.copy(kept / name, directory / name)
    was, objects, timers, notes, settings = pickle.loads((kept / STATE).read_bytes())
    store = Store()
    store.begin_with(_moved(objects, was, str(directory)))
    return replace(core.at(directory), store=store, timers=timers, notes=notes, settings=settings)


def _moved(value: Any, was: str, now: str) -> Any:
    if isinstance(value, str):
        return value.replace(was, now)
    if isinstance(value, dict):
        return {key: _moved(each, was, now) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(each, was, now) for each in value)
    return value

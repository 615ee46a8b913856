"""Worlds with everything in them and a first backup: one is filled, the others begin as it stood then.

To fill one takes about as much of the machine as a drill does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbooks.records import BackupState
from tests.fakes import fake_world, seed
from tests.fakes.fake_world import World

BACKUP = "orders-first"
FRESH_SECONDS = 240
"""So long its backup is a new one: a run that takes minutes after that still finds it younger than 15 minutes."""


@dataclass(frozen=True)
class _Model:
    directory: tempfile.TemporaryDirectory[str]  # removed with it
    state: BackupState
    made: float


_models: list[_Model] = []


@contextmanager
def serve(directory: Path, **settings: Any) -> Iterator[tuple[World, BackupState]]:
    """The world, and what the observer would have recorded of its backup. *settings* hold while it is filled, too."""
    if settings:
        with fake_world.serve(directory, **settings) as world:
            yield world, _fill(world)
        return
    model = _model()
    with fake_world.serve(directory, like=Path(model.directory.name)) as world:
        yield world, model.state


def _fill(world: World) -> BackupState:
    seed.everything(world)
    return seed.back_up(world, BACKUP).state


def _model() -> _Model:
    if not _models or time.monotonic() - _models[0].made > FRESH_SECONDS:
        directory = tempfile.TemporaryDirectory(prefix="fake-world-")
        with fake_world.serve(Path(directory.name)) as world:
            state = _fill(world)
            world.keep()
        _models[:] = [_Model(directory, state, time.monotonic())]
    return _models[0]

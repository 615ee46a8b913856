"""What the parts of the fake world share."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.faults import Faults
from tests.fakes.recording import Log
from tests.fakes.settings import Settings
from tests.fakes.store import Store


class Timers:
    """Named moments in the future, so that controllers can be asked again and again."""

    def __init__(self) -> None:
        self._due: dict[Hashable, float] = {}

    def elapsed(self, name: Hashable, seconds: float) -> bool:
        """Whether *seconds* have passed since it was first asked under this name."""
        return time.monotonic() >= self._due.setdefault(name, time.monotonic() + seconds)

    def forget(self, name: Hashable) -> None:
        self._due.pop(name, None)

    def next_in(self) -> float | None:
        """Seconds until the next moment that has not come yet."""
        now = time.monotonic()
        return min((due - now for due in self._due.values() if due > now), default=None)


class Disk:
    """Volumes as real directories: a bound one at <root>/<namespace>/<claim>, any other below <root>/.unbound."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def bound(self, namespace: str, claim: str) -> Path:
        return self.root / namespace / claim

    def unbound(self, volume: str) -> Path:
        return self.root / ".unbound" / volume

    def attach(self, volume: str, namespace: str, claim: str) -> None:
        """The volume's directory, new or kept, in the claim's place."""
        place, kept = self.bound(namespace, claim), self.unbound(volume)
        place.parent.mkdir(parents=True, exist_ok=True)
        if kept.exists():
            kept.rename(place)
        else:
            place.mkdir()

    def detach(self, volume: str, namespace: str, claim: str) -> None:
        place, kept = self.bound(namespace, claim), self.unbound(volume)
        kept.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            place.rename(kept)

    def destroy(self, volume: str) -> None:
        shutil.rmtree(self.unbound(volume), ignore_errors=True)


@dataclass(frozen=True)
class Core:
    directory: Path
    log: Log
    disk: Disk
    store: Store = field(default_factory=Store)
    settings: Settings = field(default_factory=Settings)
    faults: Faults = field(default_factory=Faults)
    timers: Timers = field(default_factory=Timers)
    denials: list[dict[str, str]] = field(default_factory=list)
    notes: dict[Hashable, Any] = field(default_factory=dict)  # what controllers remember of what is under way


def at(directory: Path) -> Core:
    return Core(directory, Log(directory / "requests.jsonl"), Disk(directory / "volumes"))


Controller = Callable[[Core], None]


def run(core: Core, controllers: tuple[Controller, ...], *, every_seconds: float = 1.0) -> None:
    """Let all controllers look at the world whenever it changed or one of them asked to be woken; for ever."""
    while True:
        with core.store.changed:
            seen = -1
            while seen != core.store.version:
                seen = core.store.version
                for one in controllers:
                    one(core)
            core.store.changed.wait(min(every_seconds, core.timers.next_in() or every_seconds))

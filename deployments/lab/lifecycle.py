"""Everything up, in as little time as the order allows; everything down, whatever state it was left in."""

from __future__ import annotations

import json
import os
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from fcntl import LOCK_EX, LOCK_NB, flock
from time import monotonic
from typing import TYPE_CHECKING

from deployments.lab import files, packages, remains
from deployments.lab.chosen import recorded
from deployments.lab.component import LabError
from deployments.lab.plan import Part, parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.lab.build import Tell
    from deployments.lab.component import Proof
    from deployments.lab.lab import Lab

WORKERS = 12


@dataclass(frozen=True)
class Timing:
    """When a part began to start, counted from the beginning of `up`, and how long that took."""

    name: str
    begun_seconds: float
    took_seconds: float


@dataclass
class Start:
    """What came of `up`: the parts that are ready, and why others are not."""

    timings: list[Timing] = field(default_factory=list)
    failed: dict[str, LabError] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0


def up(lab: Lab, regions: list[str], tell: Tell) -> Start:
    """Every part works, or the result says which does not and why. Parts that work already are left as they are.

    Raises: LabError when the lab cannot be begun at all: no root, packages missing, number in use, another `up`."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes namespaces, network devices and control groups", "sudo make lab")
    packages.require(only_database=lab.only_database)
    with only_one(lab):
        remains.refuse_other_lab(lab)
        wanted = _write_down(lab, regions)
        return _start_all(lab, parts(lab, wanted, tell), tell)


def down(lab: Lab) -> None:
    """Nothing of the lab is left on the machine but its evidence, whatever killed it before.

    Another checkout's lab that has taken our number meanwhile is not touched."""
    with only_one(lab):
        if remains.other_lab(lab) is None:
            for part in reversed(parts(lab, ["a", "b"], _silent)):
                if part.region is None or not lab.regions[part.region].isolated:
                    part.component.stop(lab)
        remains.end_processes(lab)
        remains.remove_files(lab)


def status(lab: Lab) -> list[Proof | tuple[str, LabError]]:
    """Each part's proof, or why there is none; all are asked at once. Raises: LabError when no lab is up."""
    if not recorded(lab.root):
        raise LabError(f"no lab is up in {lab.root}", "dr lab up")
    listed = parts(lab, asked_regions(lab), _silent)
    with ThreadPoolExecutor(WORKERS) as pool:
        proofs = [pool.submit(part.component.prove, lab) for part in listed]
        return [_proof(part, proof) for part, proof in zip(listed, proofs, strict=True)]


def environment(lab: Lab) -> dict[str, str]:
    """The lines of `dr lab env`; those of parts that are not up are left out."""
    listed = parts(lab, asked_regions(lab), _silent) if recorded(lab.root) else []
    found: dict[str, str] = {}
    for part in listed:
        if part.is_up(lab):
            found |= part.component.environment(lab)
    return found


def asked_regions(lab: Lab) -> list[str]:
    """The regions that `up` was last asked for."""
    regions = recorded(lab.root).get("regions", [])
    return [str(region) for region in regions] if isinstance(regions, list) else []


@contextmanager
def only_one(lab: Lab) -> Iterator[None]:
    """One command at a time changes a lab; the lock dies with its holder."""
    lab.root.mkdir(parents=True, exist_ok=True)
    handle = os.open(lab.root, os.O_RDONLY)
    try:
        flock(handle, LOCK_EX | LOCK_NB)
        yield
    except BlockingIOError as error:
        raise LabError(f"another dr lab up or down is at work in {lab.root}", "wait for it, or stop it") from error
    finally:
        os.close(handle)


def _start_all(lab: Lab, listed: list[Part], tell: Tell) -> Start:
    """Each part is started as soon as those before it are ready; the failure of one stops only what builds on it."""
    came, begun = Start(), monotonic()
    waiting = {part.name: part for part in listed}
    running: dict[Future[Timing], str] = {}
    ready: set[str] = set()
    pool = ThreadPoolExecutor(WORKERS)
    try:
        while waiting or running:
            for part in [each for each in waiting.values() if ready.issuperset(each.after)]:
                running[pool.submit(_start, lab, part, begun)] = waiting.pop(part.name).name
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                _settle(came, running.pop(future), future, ready, tell)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # who interrupts does not want to wait for a wait
    came.skipped = list(waiting)
    came.seconds = monotonic() - begun
    return came


def _start(lab: Lab, part: Part, begun: float) -> Timing:
    before = monotonic()
    part.component.start(lab)
    return Timing(part.name, before - begun, monotonic() - before)


def _settle(came: Start, name: str, future: Future[Timing], ready: set[str], tell: Tell) -> None:
    try:
        timing = future.result()
    except LabError as error:
        came.failed[name] = error
        tell(f"{name}: FAILED: {error}")
        return
    came.timings.append(timing)
    ready.add(name)
    tell(f"{name}: ready after {timing.begun_seconds + timing.took_seconds:.1f} s ({timing.took_seconds:.1f} s)")


def _proof(part: Part, proof: Future[Proof]) -> Proof | tuple[str, LabError]:
    try:
        return proof.result()
    except LabError as error:
        return part.name, error


def _write_down(lab: Lab, regions: list[str]) -> list[str]:
    """The shape of the lab; one that is up already keeps the regions that it has."""
    before = recorded(lab.root)
    only = "database" if lab.only_database else None
    if before and before.get("only") != only:
        kind = "has databases only" if before.get("only") else "is a whole one, with clusters"
        raise LabError(f"the lab in {lab.root} is up, and {kind}", "dr lab down first; evidence stays")
    wanted = sorted({*asked_regions(lab), *regions})
    shape = {"number": lab.number, "only": only, "regions": wanted, "prefect": lab.has_prefect}
    files.write(lab.root / "lab.json", json.dumps(shape))
    return wanted


def _silent(text: str) -> None:
    """Nobody asked."""

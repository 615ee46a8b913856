"""What most proofs have in common: whose process it was, its memory, and how long the proof took."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from deployments.lab import process
from deployments.lab.component import LabError, Proof
from deployments.lab.lab import tail

if TYPE_CHECKING:
    from deployments.lab.lab import Lab


def of_process(lab: Lab, name: str, *, address: str, said: str, begun: float, region: str | None = None) -> Proof:
    """The proof that *name*, a process of ours, did what *said* tells. Raises: LabError when it is not running.

    *begun* is `monotonic()` from before the proof."""
    running = lab.running(name)
    if running is None:
        raise LabError(f"{name} is not running; its log ends: {tail(lab.log(name))}", "dr lab up starts it again")
    memory = process.memory_bytes(process.descendants(running.pid))
    return Proof(name, region, address, running.pid, memory, f"{said}, {milliseconds(begun)}")


def milliseconds(begun: float) -> str:
    return f"{(monotonic() - begun) * 1000:.0f} ms"

"""Who holds a lock on this host: told by /proc, with the time at which the process began."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from runbooks.model import now
from tasks.locks import Held
from tests.tasks.outside import until


def holder(pid: int) -> Held:
    began = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return Held(run_id="r1", host=socket.gethostname(), pid=pid, began=began, at=now())


def test_holder_that_was_killed_and_is_not_waited_for() -> None:
    """A process lives until it is killed; as a zombie, whose parent has not asked for its end, it is dead."""
    with subprocess.Popen(["sleep", "60"]) as process:
        held = holder(process.pid)
        assert held.lives_here
        process.kill()
        until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        assert not held.lives_here


def test_number_that_was_given_again() -> None:
    """A living process of that number which began at another time is another one."""
    with subprocess.Popen(["sleep", "60"]) as process:
        held = holder(process.pid)
        other = held.model_copy(update={"began": (held.began or 0) - 1})
        seen = (held.lives_here, other.lives_here)
        process.kill()
    assert seen == (True, False)

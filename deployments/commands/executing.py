"""Runs a flow in this process: shown by Prefect when its server answers, plainly when it does not.

Once the flow's body has ended, its report lies on the disk and nothing that Prefect does may change the result: a
server that died in mid-run would hold the process for minutes.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from prefect import Flow

LOG = logging.getLogger("dr")
PREFECT_ENDS_WITHIN = timedelta(seconds=10)
Outcome = BaseException | None
Finish = Callable[[Outcome], int]
"""Tells a person how it ended, and gives the exit code."""


class Body:
    """The flow's own function, watched: did it begin, did it end, and how."""

    def __init__(self, flow: Flow[..., Any]) -> None:
        self._function = flow.fn
        self.began = False
        self.ended = threading.Event()
        self.outcome: Outcome = None
        self.last_word = threading.Lock()
        functools.update_wrapper(self, flow.fn)
        self.__globals__ = flow.fn.__globals__  # Prefect looks up the types of the parameters there

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.began = True
        try:
            return self._function(*args, **kwargs)
        except BaseException as error:
            self.outcome = error
            raise
        finally:
            self.ended.set()


def plainly(flow: Flow[..., Any], parameters: dict[str, Any]) -> Outcome:
    body = Body(flow)
    _tried(lambda: body(**parameters))
    return body.outcome


def in_prefect(
    flow: Flow[..., Any],
    parameters: dict[str, Any],
    finish: Finish,
    *,
    ends_within: timedelta = PREFECT_ENDS_WITHIN,
) -> Outcome:
    """The outcome of the flow's body, which is run plainly when Prefect fails before it has begun.

    When Prefect does not come to an end after it, *finish* is called and this process ends with its exit code."""
    body = Body(flow)
    watched = flow.with_options()
    watched.fn = body
    threading.Thread(target=_guard, args=(body, finish, ends_within), name="guard", daemon=True).start()
    failure = _tried(lambda: watched(**parameters))
    if not body.began:
        LOG.warning("Prefect failed before the run began (%s); it runs without", failure)
        return plainly(flow, parameters)
    if not body.last_word.acquire(blocking=False):
        threading.Event().wait()  # the guard is telling it, and ends this process
    return body.outcome


def _tried(act: Callable[[], object]) -> Outcome:
    """What it raised, of any kind: the body's outcome is judged, not Prefect's."""
    try:
        act()
    except BaseException as error:  # noqa: BLE001 it is handed on and judged; Prefect must not decide
        return error
    return None


def _guard(body: Body, finish: Finish, ends_within: timedelta) -> None:
    body.ended.wait()
    time.sleep(ends_within.total_seconds())
    if not body.last_word.acquire(blocking=False):
        return
    LOG.warning("Prefect did not end within %.0f s of the run; the result stands", ends_within.total_seconds())
    leave(finish(body.outcome))


def leave(code: int) -> None:
    """End now: threads of Prefect that still wait for its server would hold the process for minutes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

"""A step of a flow: remembered by the journal, shown by Prefect when there is one.

Prefect remembers nothing for us (NO_CACHE, no results): what a resumed run knows comes from the journal alone.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar, get_type_hints

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from pydantic import TypeAdapter

from runbooks.errors import DryRunEnded, RecoveryError
from tasks.cases import Case
from tasks.clients.kubernetes import Unheard

P = ParamSpec("P")
R = TypeVar("R")
LOG = logging.getLogger("dr")
PAUSE_SECONDS = 0.5
AGAIN_WITHIN_SECONDS = 15.0
"""An API server that answers questions and no changes is in trouble of another kind, which no waiting mends."""


def name_of(function: Callable[..., object]) -> str:
    """The name in documents and journal, such as velero.restore."""
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__}"


def step(function: Callable[Concatenate[Case, P], R]) -> Callable[Concatenate[Case, P], R]:
    """Done once a run: on a resume the recorded evidence is returned and nothing runs.

    A step that was begun but not finished runs again, so its body looks at the world before it acts.
    """

    @functools.wraps(function)
    def run(case: Case, /, *args: P.args, **kwargs: P.kwargs) -> R:
        kind: TypeAdapter[R] = TypeAdapter(get_type_hints(function)["return"])
        recorded = case.recorded(name_of(function))
        if recorded is not None:
            return kind.validate_python(recorded["evidence"])

        def body() -> R:
            evidence = _tried(case, function, *args, **kwargs)
            case.end_step(kind.dump_python(evidence, mode="json"))
            return evidence

        return _shown(name_of(function), body)

    return run


def every_attempt(function: Callable[Concatenate[Case, P], R]) -> Callable[Concatenate[Case, P], R]:
    """Done again on each attempt: it holds something that dies with the process, such as a lock."""

    @functools.wraps(function)
    def run(case: Case, /, *args: P.args, **kwargs: P.kwargs) -> R:
        def body() -> R:
            result = _tried(case, function, *args, **kwargs)
            case.end_step(None)
            return result

        return _shown(name_of(function), body)

    return run


def _tried(case: Case, function: Callable[Concatenate[Case, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    case.begin_step(name_of(function))
    try:
        return in_spite_of_silence(case, lambda: function(case, *args, **kwargs))
    except DryRunEnded:
        raise
    except RecoveryError as error:
        case.fail_step(error)
        raise


def in_spite_of_silence(case: Case, act: Callable[[], R]) -> R:
    """What *act* returns. When a change of the cluster got no answer, *act* begins again once the API server answers.

    As on a resume after a kill it looks at the world before it acts, so nothing is done twice.
    """
    end: float | None = None
    while True:
        try:
            return act()
        except Unheard as error:
            case.connect().close()  # waits; still away: Unavailable
            end = end or time.monotonic() + AGAIN_WITHIN_SECONDS
            if time.monotonic() >= end:
                raise
            case.event(f"no answer to a change: {error.problem}; looking whether it was done")
            time.sleep(PAUSE_SECONDS)


def _shown(name: str, body: Callable[[], R]) -> R:
    """Run as a Prefect task inside a flow run, as a plain call without."""
    if FlowRunContext.get() is None:
        return body()
    shown = task(name=name, cache_policy=NO_CACHE, persist_result=False, retries=0)(body)
    return shown()

"""A question on Prefect's page of a run: it is shown as paused, with a form behind the button Resume.

Only the page pauses: this process goes on asking elsewhere too, and a server that is away delays nothing.
Source: Prefect 3, `pause_flow_run` with `wait_for_input`, done by hand so that it need not be the only place to answer.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import SetStateStatus
from prefect.input.run_input import Keyset, keyset_from_paused_state
from prefect.states import Paused, Running

from runbooks.errors import RecoveryError
from runbooks.model import Json
from tasks.clients.prefect_api import translated

LOG = logging.getLogger("dr")
PAUSE_SECONDS = 1.0
Form = dict[str, Any]


class Question:
    """Asked by a thread of its own until it is answered or withdrawn."""

    def __init__(self, flow_run: str, key: str, form: Form, text: str, within: timedelta) -> None:
        self._flow_run, self._key, self._form, self._text, self._within = UUID(flow_run), key, form, text, within
        self._withdrawn = threading.Event()
        self.answer: dict[str, Json] | None = None
        self._thread = threading.Thread(target=self._ask, name="prefect question", daemon=True)
        self._thread.start()

    def withdraw(self) -> None:
        """The page shows the run as running again."""
        self._withdrawn.set()
        self._thread.join(5)

    def _ask(self) -> None:
        keyset: Keyset | None = None
        while not self._withdrawn.is_set():
            try:
                with _client() as client:
                    keyset = keyset or self._pause(client)
                    if keyset is None or self._look(client, keyset):
                        return
            except RecoveryError as error:
                LOG.warning("the question is not on Prefect's page: %s", error.problem)
            self._withdrawn.wait(PAUSE_SECONDS)
        if keyset is not None:
            with suppress(RecoveryError), _client() as client:
                self._go_on(client)

    def _pause(self, client: SyncPrefectClient) -> Keyset | None:
        """None: the server does not let it be paused."""
        state: State[Any] = Paused(
            timeout_seconds=int(self._within.total_seconds()) + 60, reschedule=False, pause_key=self._key
        )
        keyset = keyset_from_paused_state(state)
        state.state_details.run_input_keyset = {str(name): value for name, value in keyset.items()}
        client.create_flow_run_input(flow_run_id=self._flow_run, key=keyset["schema"], value=json.dumps(self._form))
        client.create_flow_run_input(
            flow_run_id=self._flow_run, key=keyset["description"], value=json.dumps(self._text)
        )
        done = client.set_flow_run_state(self._flow_run, state)
        if done.status is not SetStateStatus.ACCEPT:
            LOG.warning("Prefect does not let the run be paused: %s", done.details)
            return None
        return keyset

    def _look(self, client: SyncPrefectClient, keyset: Keyset) -> bool:
        state = client.read_flow_run(self._flow_run).state
        if state is None or not state.is_running():
            return False
        self.answer = json.loads(client.read_flow_run_input(self._flow_run, keyset["response"]))
        return True

    def _go_on(self, client: SyncPrefectClient) -> None:
        state = client.read_flow_run(self._flow_run).state
        if state is not None and state.is_paused():
            client.set_flow_run_state(self._flow_run, Running(), force=True)


@contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    """Raises: Unavailable, Refused."""
    with translated("its address"), get_client(sync_client=True, httpx_settings={"timeout": 5}) as client:
        yield client

"""What a connection to a host gives; `tasks.clients.ssh` has the real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol


class Done(Protocol):
    """How a command ended; `exit_code` None: by a signal."""

    @property
    def exit_code(self) -> int | None: ...
    @property
    def stdout(self) -> bytes: ...
    @property
    def stderr(self) -> bytes: ...


class Shell(Protocol):
    """Runs programs on a host. Every call raises Unavailable as well: no end in time, or no connection."""

    def run(
        self,
        argv: Sequence[str],
        *,
        within: timedelta = ...,
        user: str | None = None,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Done: ...

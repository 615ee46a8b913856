"""Room on the disk that is kept for what a run has to record when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

RESERVE_BYTES = 4 * 1024 * 1024
"""Journal, state and report of a run need some 1 MiB."""
ROOM_BYTES = 256 * 1024
"""What must be free beside the reserve before anything is broken."""


class Reserve:
    def __init__(self, directory: Path, name: str = ".reserve", size_bytes: int = RESERVE_BYTES) -> None:
        self._path, self._size_bytes = directory / name, size_bytes

    def take(self) -> Self:
        """Raises: OSError: there is no such room; then nothing is taken."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(handle, 0, self._size_bytes)
        except OSError:
            self.release()
            raise
        finally:
            os.close(handle)
        return self

    @property
    def is_taken(self) -> bool:
        return self._path.exists()

    def release(self) -> None:
        self._path.unlink(missing_ok=True)

"""What can go wrong, cut by what the operator does next.

RecoveryError
├── Refused       a precondition does not hold; nothing was changed: mend it, start again
├── Unavailable   no answer in time; asking again is safe
├── NotRecovered  we acted and the proof is missing: a person must look
├── Aborted       a person or a signal ended the run
└── DryRunEnded   it was to stop here, having changed nothing
"""

from __future__ import annotations


class RecoveryError(Exception):
    """A fact with its values, and a hint on what to do about it. Neither may hold a secret."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}\nHINT: {self.hint}"


class Refused(RecoveryError):
    """A precondition does not hold; the call changed nothing."""


class Unavailable(RecoveryError):
    """No answer in time; asking again is safe."""


class NotRecovered(RecoveryError):
    """We acted and the proof is missing."""


class Aborted(RecoveryError):
    """A person or a signal ended the run."""


class DryRunEnded(RecoveryError):
    """It was to stop here: the plan is made, nothing was changed."""

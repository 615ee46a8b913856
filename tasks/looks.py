"""The checks of a verification, collected: each look is made whatever the one before found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runbooks.errors import RecoveryError
from runbooks.records import Check, CheckStatus

LOG = logging.getLogger("dr")


class Looks:
    """What was looked at, in order. What could not be looked at is not green."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.hint: str | None = None
        """Of the first that is not green."""

    def equal(self, name: str, expected: str, ask: Callable[[], str], hint: str) -> None:
        """One check: what *ask* says is as *expected*."""
        try:
            observed = ask()
        except RecoveryError as error:
            self._add(name, expected, error.problem, CheckStatus.NOT_RUN, error.hint)
            return
        status = CheckStatus.PASSED if observed == expected else CheckStatus.FAILED
        self._add(name, expected, observed, status, hint)

    @contextmanager
    def guarded(self, name: str, expected: str) -> Iterator[None]:
        """What ends all further looks inside is a red check by itself."""
        try:
            yield
        except RecoveryError as error:
            self._add(name, expected, error.problem, CheckStatus.FAILED, error.hint)

    def passed(self, name: str, expected: str, observed: str) -> None:
        self._add(name, expected, observed, CheckStatus.PASSED, "")

    def _add(self, name: str, expected: str, observed: str, status: CheckStatus, hint: str) -> None:
        LOG.info("%s: %s: %s", status.value, name, observed)
        if status is not CheckStatus.PASSED and self.hint is None:
            self.hint = hint
        self.checks.append(Check(name=name, expected=expected, observed=observed, status=status))

    @property
    def bad(self) -> list[Check]:
        return [check for check in self.checks if check.status is not CheckStatus.PASSED]

    @property
    def problem(self) -> str | None:
        """None: all are green."""
        if not self.bad:
            return None
        told = "; ".join(f"{check.name}: {check.observed}" for check in self.bad[:3])
        more = f"; and {len(self.bad) - 3} more" if len(self.bad) > 3 else ""
        return f"{len(self.bad)} of {len(self.checks)} checks not passed: {told}{more}"

"""Asks people wherever they may be: on Prefect's page of the run, at the terminal; `dr approve` writes to the store.

What is said on the page or at the terminal is written to the store, too, where the first answer wins.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from runbooks.model import Model
from tasks.cases import Case
from tasks.clients.prefect_input import Question

YES, NO = "yes: carry out this plan", "no: change nothing, end this run"
Look = Callable[[], "Said | None"]


class Said(Model):
    agrees: bool
    who: str
    why: str
    loss: str


@contextmanager
def everywhere(case: Case, plan: Sequence[str], loss: str) -> Iterator[Look]:
    """What somebody has said by now, or nothing; the questions are withdrawn at the end."""
    page = _on_the_page(case, plan, loss)
    terminal = _at_the_terminal(case, plan, loss)

    def look() -> Said | None:
        if page is not None and page.answer is not None:
            return _of_page(page.answer)
        return next(iter(terminal), None)

    try:
        yield look
    finally:
        if page is not None:
            page.withdraw()


def _on_the_page(case: Case, plan: Sequence[str], loss: str) -> Question | None:
    if case.attempt.flow_run_id is None:
        return None
    text = "**Shall this be done?**\n\n" + "\n".join(f"- {line.strip()}" for line in plan)
    key = f"approval-{case.journal.attempt}"
    return Question(case.attempt.flow_run_id, key, form(case, loss), text, case.site.approval.within)


def form(case: Case, loss: str) -> dict[str, Any]:
    """As Prefect's page shows it: nothing is chosen beforehand but the loss that the plan expects."""
    people: dict[str, Any] = {"title": "Who are you?", "type": "string", "position": 1}
    if case.site.approval.approvers:
        people["enum"] = list(case.site.approval.approvers)
    properties: dict[str, Any] = {
        "decision": {"title": "Shall this be done?", "type": "string", "enum": [YES, NO], "position": 0},
        "who": people,
        "why": {"title": "Why is it right to do this now?", "type": "string", "position": 2},
        "loss": {"title": "Which loss do you accept?", "type": "string", "default": loss, "position": 3},
    }
    return {
        "title": "Approval",
        "type": "object",
        "properties": properties,
        "required": ["decision", "who", "why", "loss"],
        "additionalProperties": False,
    }


def _of_page(answer: Mapping[str, Any]) -> Said:
    return Said(agrees=answer["decision"] == YES, who=answer["who"], why=answer["why"], loss=answer["loss"])


def _at_the_terminal(case: Case, plan: Sequence[str], loss: str) -> list[Said]:
    """Filled when a person has answered; a thread waits for that, since nothing else may wait for a terminal."""
    said: list[Said] = []
    if sys.stdin is not None and sys.stdin.isatty():
        asking = threading.Thread(target=lambda: said.append(_ask(case, plan, loss)), daemon=True, name="terminal")
        asking.start()
    return said


def _ask(case: Case, plan: Sequence[str], loss: str) -> Said:
    _tell(f"\nRun {case.run_id} waits for a person. The plan:", *(f"  {line}" for line in plan))
    agrees = _asked('Type "yes" to carry it out, "no" to end the run', accepts=("yes", "no")) == "yes"
    who = _asked("Who are you?", accepts=case.site.approval.approvers)
    return Said(
        agrees=agrees, who=who, why=_asked("Why?"), loss=_asked(f"Which loss do you accept? [{loss}]", default=loss)
    )


def _asked(question: str, *, accepts: Sequence[str] = (), default: str = "") -> str:
    while True:
        _tell(f"{question}:")
        answer = sys.stdin.readline().strip() or default
        if answer and (not accepts or answer in accepts):
            return answer
        if accepts:
            _tell(f"one of: {', '.join(accepts)}")


def _tell(*lines: str) -> None:
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()

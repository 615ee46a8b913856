"""The runbook is read by people, by the engine, and here."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from runbooks import documents, site, values
from runbooks.database_ways import Options
from runbooks.documents import Document, Phase
from runbooks.errors import Refused
from runbooks.objectives import DEFAULTS
from runbooks.records import RunKind
from runbooks.site import Application, Site

EXAMPLE = site.load("production")
ORDERS = EXAMPLE.application("orders")
PREPARE = {"name": "prepare", "budget_seconds": 600, "steps": ["net.cast"]}


class Run:
    """A run that has done these steps."""

    site: Site = EXAMPLE
    application: Application = ORDERS
    run_id = "r1"
    chosen_backup: str | None = "orders-0900"
    way_back = Options()

    def __init__(self, *done: str, kind: RunKind) -> None:
        self._done = done
        self.kind = kind

    def recorded(self, step: str) -> dict[str, object] | None:
        return {} if step in self._done else None


@pytest.fixture(params=documents.scenarios())
def document(request: pytest.FixtureRequest) -> Document:
    return documents.load(request.param)


def test_budgets_fit_the_objective(document: Document) -> None:
    """What lies between fault and validated fits into the RTO; in an incident, which prepares after the fault, too."""
    rto = DEFAULTS[document.scenario].rto
    assert document.longest_recovery(incident=False) <= rto
    assert document.longest_recovery(incident=True) <= rto


def test_each_step_is_written_for_a_person(document: Document) -> None:
    """One section a step, in the same order, and no other."""
    assert tuple(section.step for section in document.sections) == document.steps


def test_steps_that_break_are_marked(document: Document) -> None:
    """Every step of the phase break is done in a drill with real impact alone."""
    assert {document.kinds_of(step) for step in document.phase("break").steps} <= {frozenset({RunKind.DRILL})}


def test_headings_say_in_which_kinds_of_run(document: Document) -> None:
    """A heading begins with the kinds of run in which the step takes place, unless it does in all."""
    for section in document.sections:
        kinds = [kind for kind in RunKind if kind in document.kinds_of(section.step)]
        mark = f"({', '.join(kinds)}) " if len(kinds) < len(RunKind) else ""
        assert section.title.startswith(mark)
        assert mark or not section.title.startswith("(")


def test_step_that_takes_place_in_no_run() -> None:
    """What a phase says about a step that it does not have, or about no kind of run, is refused."""
    with pytest.raises(ValidationError, match=r"only names net\.cats, which is no step of phase prepare"):
        Phase.model_validate({**PREPARE, "only": {"net.cats": ["drill"]}})
    with pytest.raises(ValidationError, match=r"only names no kind of run for net\.cast"):
        Phase.model_validate({**PREPARE, "only": {"net.cast": []}})


def test_printed_commands_need_none_of_us(document: Document) -> None:
    """They are for the day when nothing of ours runs."""
    commands = "".join(section.commands for section in document.sections)
    assert not re.search(r"^(dr|python\S*) ", commands, re.MULTILINE)


def test_remaining_steps_of_an_incident() -> None:
    """What was done is left out, and so is what only a drill does; the terminal's set-up comes first."""
    document = documents.load("namespace-deletion")
    left = list(document.remaining(Run("locks.acquire", "velero.restore", kind=RunKind.INCIDENT)))
    assert left[0].startswith("# in one terminal\nkubectl() { command kubectl --kubeconfig=")
    names = [text.removeprefix("# ").split(":")[0] for text in left[1:]]
    assert set(names) == set(document.steps_of(RunKind.INCIDENT)) - {"locks.acquire", "velero.restore"}
    assert "net.cast" not in names
    assert "production" in next(text for text in left if text.startswith("# cluster_state.wait_until_ready"))
    assert not any("BACKUP" in text for text in left if not text.startswith("# velero.choose_backup"))
    assert any('describe "orders-0900" --details' in text for text in left)


def test_value_of_which_there_are_several() -> None:
    """The line is printed once for each; a line without a value of its own is left out."""
    several = ORDERS.model_copy(update={"namespaces": ("shop", "billing"), "gate": None})
    text = "kubectl get pods --namespace={{namespace}}\nkubectl patch {{gated_service}}\nvelero get {{namespaces}}\n"
    assert values.fill(text, values.of(EXAMPLE, several)) == (
        "kubectl get pods --namespace=shop\nkubectl get pods --namespace=billing\nvelero get shop,billing\n"
    )


def test_value_that_no_site_has() -> None:
    """It is refused, not printed as a gap."""
    with pytest.raises(Refused) as refused:
        values.fill("kubectl {{nothing}}", values.of(EXAMPLE, ORDERS))
    assert refused.value.problem == "the runbook asks for nothing, which no site has"


def test_unknown_scenario() -> None:
    """The known ones are named."""
    with pytest.raises(Refused) as refused:
        documents.load("namespace-delusion")
    assert refused.value.hint == f"there is one for: {', '.join(documents.scenarios())}"


def test_unknown_phase_and_step() -> None:
    """A step that the document does not list cannot run."""
    document = documents.load("namespace-deletion")
    assert document.phase_of("velero.restore") == "restore"
    assert document.budget("restore") == timedelta(hours=1)
    with pytest.raises(Refused):
        document.phase_of("velero.explode")
    with pytest.raises(Refused):
        document.budget("lunch")


def test_no_name_of_a_step_twice(document: Document) -> None:
    """A journal could not tell them apart."""
    assert len(set(document.steps)) == len(document.steps)


def test_documents_are_where_they_are_looked_for() -> None:
    """Beside the modules, so that they are packaged with them."""
    assert Path(documents.FOLDER, "namespace-deletion.md").exists()

"""Documents, flows, deployments and budgets say the same."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from deployments.commands import forms, registering, registry
from runbooks import documents, site
from runbooks.documents import Document
from runbooks.objectives import BROUGHT_BACK_BY, DEFAULTS
from runbooks.records import RunKind
from tasks import clean_up
from tasks.clients import prefect_api
from tasks.endings import Ending

ROOT = Path(__file__).resolve().parent.parent
AT_THE_END = ("record", "clean_up")
"""These phases are the case's own, whatever happened before."""


@pytest.fixture(params=documents.scenarios())
def document(request: pytest.FixtureRequest) -> Document:
    return documents.load(request.param)


def body_of(scenario: str) -> list[ast.stmt]:
    """What the flow does inside its case."""
    [with_case] = [node for node in ast.walk(tree_of(scenario)) if isinstance(node, ast.With)]
    return with_case.body


def tree_of(scenario: str) -> ast.Module:
    return ast.parse((ROOT / "flows" / f"{scenario.replace('-', '_')}.py").read_text())


def ending_of(scenario: str) -> Ending:
    """What the flow opens its case with: running.open(…, clean_up.NAMESPACE)."""
    [with_case] = [node for node in ast.walk(tree_of(scenario)) if isinstance(node, ast.With)]
    opening = with_case.items[0].context_expr
    assert isinstance(opening, ast.Call)
    found: Ending = getattr(clean_up, ast.unparse(opening.args[-1]).removeprefix("clean_up."))
    return found


def steps_in(statements: list[ast.stmt], kind: RunKind) -> list[str]:
    """`velero.restore(case)` is the step velero.restore. The only branches are those between kinds of run."""
    return [step for statement in statements for step in _steps(statement, kind)]


def _steps(statement: ast.stmt, kind: RunKind) -> list[str]:
    if isinstance(statement, ast.If):
        case = SimpleNamespace(kind=kind)
        holds = eval(ast.unparse(statement.test), {"case": case, "RunKind": RunKind, "__builtins__": {}})
        return steps_in(statement.body if holds else statement.orelse, kind)
    calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
    in_order = sorted(calls, key=lambda call: (call.lineno, call.col_offset))
    return [ast.unparse(call.func) for call in in_order]


@pytest.mark.parametrize("kind", RunKind)
def test_flow_is_the_list_of_the_runbooks_steps(document: Document, kind: RunKind) -> None:
    """In each kind of run those of the document, in its order, and nothing else."""
    at_the_end = {step for name in AT_THE_END for step in document.phase(name).steps}
    written = [step for step in document.steps_of(kind) if step not in at_the_end]
    assert steps_in(body_of(document.scenario), kind) == written


def test_clean_up_is_as_the_document_says(document: Document) -> None:
    """Each step that the case does at its end, in order."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(ending_of(document.scenario).steps)))
    yields = sorted((node for node in ast.walk(tree) if isinstance(node, ast.Yield)), key=lambda node: node.lineno)
    pairs = [ast.unparse(node.value) for node in yields if node.value is not None]
    assert [pair.split("'")[1] for pair in pairs] == list(document.phase("clean_up").steps)


def test_flow_names_its_document(document: Document) -> None:
    """Its name is the scenario, and its docstring leads to the runbook."""
    flow = registry.flow(document.scenario)
    assert flow.name == document.scenario
    assert f"Runbook: runbooks/{document.scenario}.md" in (inspect.getdoc(flow.fn) or "")


def test_each_parameter_is_explained(document: Document) -> None:
    """The form shows a line beside each field, and none of them points anywhere by default."""
    fields = prefect_api.schema_of(registry.flow(document.scenario))["properties"]
    assert [name for name, field in fields.items() if not field.get("description")] == []
    assert "default" not in fields["site"]


def test_each_scenario_has_objectives(document: Document) -> None:
    """And `dr objectives` knows what brings it back."""
    assert document.scenario in DEFAULTS
    assert DEFAULTS.keys() == BROUGHT_BACK_BY.keys()


def test_each_scenario_has_a_drill_and_an_incident(document: Document) -> None:
    """In prefect.yaml, with the flow behind them; a flow that cannot be imported fails here."""
    flow = registry.flow(document.scenario)
    found = [one for one in registry.deployments() if registry.loaded(one).name == flow.name]
    assert [(one.name, one.parameters["mode"]) for one in found] == [("drill", "drill"), ("incident", "incident")]


def test_only_drills_have_a_schedule() -> None:
    """And no two of them begin at the same hour: the later one would be refused by the lock."""
    crons = [s.cron for one in registry.deployments() if one.name == "drill" for s in one.schedules]
    assert len(crons) == len(set(crons)) == len(documents.scenarios())
    assert [one.name for one in registry.deployments() if one.name == "incident" and one.schedules] == []


@pytest.mark.parametrize("deployment", registry.deployments(), ids=lambda one: one.name)
def test_form(deployment: registry.Deployment) -> None:
    """It asks for parameters of the flow only, and what it does not ask is set or has a default."""
    example = site.load("production")
    schema = prefect_api.schema_of(registry.loaded(deployment))
    form = registering.wanted(deployment, schema, example).form
    assert list(form["properties"]) == list(forms.fields(schema, deployment.name))
    open_ones = set(schema["required"]) - set(form["properties"]) - deployment.parameters.keys()
    assert open_ones == set()
    assert form["required"] == ["site"]
    assert form["properties"]["site"]["enum"] == [example.name]


def test_layers() -> None:
    """flows, then tasks, then runbooks; SDKs in tasks/clients alone; only flows break things."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

"""What a person types, and what is said when it is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from deployments import cli
from deployments.commands import site_pins
from deployments.commands.site_pins import Pin
from runbooks import site
from tests.deployments import command_line
from tests.deployments.command_line import PLAN, RUN, Shell
from tests.zygote import Zygote

pytestmark = pytest.mark.slow

DRILL = ("run", "namespace-deletion", "--site", "lab", "--mode", "drill")


@pytest.fixture
def shell(tmp_path: Path, forks: Zygote) -> Shell:
    return command_line.shell(tmp_path, forks)


def commands(group: typer.core.TyperGroup, name: str = "dr") -> Iterator[tuple[str, str]]:
    for part, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, f"{name} {part}")
        else:
            yield f"{name} {part}", command.help or ""


def all_commands() -> dict[str, str]:
    group = get_command(cli.app)
    assert isinstance(group, typer.core.TyperGroup)
    return dict(commands(group))


def test_every_command_shows_an_example() -> None:
    """In its help, and of itself."""
    assert [name for name, text in all_commands().items() if "Example: " not in text or name not in text] == []


def test_every_command_is_there() -> None:
    """People and scripts rely on these."""
    relied_on = """lab up, lab down, lab status, lab env, run, approve, observe, reports list, reports show,
        reports rebuild, objectives, runbook, site check, site pin, deploy, serve, evidence verify,
        backups make, backups verify, backups history"""
    assert {f"dr {name.strip()}" for name in relied_on.split(",")} <= all_commands().keys()


@pytest.mark.parametrize(
    ("arguments", "problem", "hint"),
    [
        (
            ("run", "namespace-delusion", *DRILL[2:], "--impact", "sandbox"),
            "there is no scenario",
            "namespace-deletion",
        ),
        ((*DRILL, "--application", "sales"), "site lab has no application 'sales'", "it has: orders"),
        (("run", "namespace-deletion", "--site", "lob", "--mode", "drill"), "there is no site 'lob'", "NAME.toml"),
        ((*DRILL, "--impact", "real"), "nobody is there to be asked", "give --yes, or start it on a terminal"),
        (("reports", "show", "nothing"), "any site has no run 'nothing' on this host", "dr reports list"),
        (("approve", "nothing", "--as", "a", "--why", "b", "--loss", "c"), "any site has no run", "dr reports list"),
        (("runbook", "pod-gain", "--site", "lab"), "there is no runbook for 'pod-gain'", "namespace-deletion"),
    ],
)
def test_asked_for_what_is_not_there(shell: Shell, arguments: tuple[str, ...], problem: str, hint: str) -> None:
    """Refused (3) in two lines, without a traceback, and nothing is written."""
    done = shell.dr(*arguments)
    assert done.code == 3
    said, advice = done.err.strip().splitlines()[-2:]
    assert (said.startswith("REFUSED: "), problem in said) == (True, True)
    assert (advice.startswith("HINT: "), hint in advice) == (True, True)
    assert not shell.evidence.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "namespace-deletion", "--mode", "drill"),
        ("run", "namespace-deletion", "--site", "lab"),
        ("run", "namespace-deletion", "--site", "lab", "--mode", "exercise"),
        (*DRILL, "--fault-at", "2026-11-23T03:10:00"),
        (*DRILL, "--fault-at", "yesterday"),
        (*DRILL, "--accept-loss", "a bit"),
        ("run",),
        ("fly",),
    ],
)
def test_wrong_command_line(shell: Shell, arguments: tuple[str, ...]) -> None:
    """Exit code 2, and only for that."""
    assert shell.dr(*arguments).code == 2


def test_misspelt_key_in_the_site_file(shell: Shell) -> None:
    """No command acts on it; the key and the file are named."""
    shell.site_file.write_text(shell.site_file.read_text().replace("[applications.gate]", "[applications.gaet]"))
    done = shell.dr("site", "check", "--site", "lab", "--offline")
    assert done.code == 3
    assert (
        f"REFUSED: {shell.site_file}: 1 problem\n  applications[orders].gaet: unknown key, did you mean gate?"
        in done.err
    )


def test_site_file_that_is_right(shell: Shell) -> None:
    """`--offline` asks nobody."""
    done = shell.dr("site", "check", "--site", "lab", "--offline")
    assert (done.code, done.out.startswith(f"{shell.site_file}: right")) == (0, True)


def test_world_that_does_not_answer(shell: Shell) -> None:
    """Each thing has its line, what is there is green, and the exit code is 1."""
    done = shell.dr("site", "check", "--site", "lab", "--json")
    seen = {row["check"]: row["status"] for row in json.loads(done.out)}
    assert done.code == 1
    assert seen["evidence store"] == "passed"
    assert {"cluster a", "database orders", "daily rows:orders", "probes orders", "observer", "prefect"} <= {
        name for name, status in seen.items() if status == "failed"
    }


def test_backups_that_are_overdue(shell: Shell) -> None:
    """None was ever made: the history names each, since when and what to do, and a script is told by the exit code."""
    done = shell.dr("backups", "history", "--site", "lab", "--json")
    late = {(one["store"], one["what"]) for one in json.loads(done.out) if one["overdue"]}
    assert (done.code, late) == (1, {(store, what) for store in ("rows:orders", "files:documents")
                                     for what in ("backup", "verification")})  # fmt: skip
    assert "OVERDUE: full backup of rows:orders is overdue since 20" in done.err
    assert "by hand: dr backups verify --file-set documents" in done.err


def test_run_that_is_refused(shell: Shell) -> None:
    """The exit code is 3, the reason is told, and the last line leads to the report, also without Prefect's server."""
    done = shell.dr(*DRILL, "--impact", "real", "--yes")
    assert done.code == 3
    assert "running without it" in done.err
    assert "REFUSED: " in done.err
    path = Path(done.out.splitlines()[-1].removeprefix("report: "))
    assert json.loads(path.read_text())["verdict"] == "refused"
    assert path.parent.parent == shell.evidence


def test_objectives(shell: Shell) -> None:
    """The six-hourly schedule alone is said to miss the RPO; both together are not."""
    judged = json.loads(shell.dr("objectives", "--site", "lab", "--json").out)["applications"][0]
    assert judged["alone"][1] == "orders-6h alone: a backup every 6 h cannot meet an RPO of 30 min"
    assert not [line for line in judged["disagreements"] if "cannot" in line]
    assert "orders-6h alone" in shell.dr("objectives", "--site", "lab").out


def test_runbook(shell: Shell) -> None:
    """Printed with the site's names."""
    done = shell.dr("runbook", "namespace-deletion", "--site", "lab")
    assert done.code == 0
    assert "velero restore create" in done.out
    assert "--include-namespaces=production" in done.out


def test_approved(shell: Shell) -> None:
    """The answer lies in the store, bound to the plan; a second one is refused."""
    shell.journal()
    yes = ("approve", RUN, "--as", "alice", "--why", "it is gone", "--loss", "12 min")
    assert shell.dr(*yes).out == f"alice said yes to run {RUN}\n"
    answer = json.loads((shell.store / f"runs/{RUN}/approval.json").read_text())
    assert (answer["who"], answer["agrees"], len(answer["plan_sha256"])) == ("alice", True, 64)
    assert shell.dr(*yes, "--no").code == 3


def test_approved_from_another_host(shell: Shell) -> None:
    """The plan is read from the evidence store when the run is not here."""
    elsewhere = shell.journal().path
    copy = shell.store / f"runs/{RUN}/journal.jsonl"
    copy.parent.mkdir(parents=True)
    elsewhere.rename(copy)
    done = shell.dr("approve", RUN, "--as", "bob", "--why", "w", "--loss", "l", "--no", "--site", "lab")
    assert done.out == f"bob said no to run {RUN}\n"


def test_runs_are_listed(shell: Shell) -> None:
    """Also one that has no report."""
    shell.journal()
    [row] = json.loads(shell.dr("reports", "list", "--site", "lab", "--json").out)
    assert (row["run_id"], row["site"], row["verdict"]) == (RUN, "lab", "no report")


def test_evidence_is_whole(shell: Shell) -> None:
    """Chain and copy."""
    journal = shell.journal()
    copy = shell.store / f"runs/{RUN}/journal.jsonl"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(journal.path.read_bytes())
    journal.append("event", text="one more")
    done = shell.dr("evidence", "verify", RUN, "--json")
    [row] = json.loads(done.out)
    assert (done.code, row["chain"], row["copy"], row["head"]) == (0, "whole", "behind", journal.head[:16])


def test_evidence_was_altered(shell: Shell) -> None:
    """A changed line breaks the chain; a rewritten chain differs from the copy. Both are exit code 1."""
    path = shell.journal().path
    whole = path.read_text()
    path.write_text(whole.replace("orders-15m-1", "orders-15m-2"))
    assert shell.dr("evidence", "verify", RUN).code == 1
    copy = shell.store / f"runs/{RUN}/journal.jsonl"
    copy.parent.mkdir(parents=True)
    copy.write_text(whole.replace('"pid":1', '"pid":2'))
    path.write_text(whole)
    done = shell.dr("evidence", "verify", RUN, "--json")
    assert (done.code, json.loads(done.out)[0]["copy"]) == (1, "DIFFERENT")


def test_report_made_again(shell: Shell) -> None:
    """From the journal alone, and the same as before."""
    done = shell.dr(*DRILL, "--impact", "real", "--yes", "--no-server")
    path = Path(done.out.splitlines()[-1].removeprefix("report: "))
    before = path.read_text()
    path.unlink()
    assert shell.dr("reports", "rebuild", path.parent.name).code == 0
    assert json.loads(path.read_text()) == json.loads(before)


def test_finished_run_started_again(shell: Shell) -> None:
    """Its id is enough to name it, it is refused, and nothing is written to it."""
    done = shell.dr(*DRILL, "--impact", "real", "--yes", "--no-server")
    directory = Path(done.out.splitlines()[-1].removeprefix("report: ")).parent
    journal = (directory / "journal.jsonl").read_bytes()
    again = shell.dr("run", "namespace-deletion", "--run-id", directory.name, "--no-server")
    assert (again.code, "REFUSED: run" in again.err) == (3, True)
    other = shell.dr("run", "namespace-deletion", "--run-id", directory.name, "--accept-loss", "2 h", "--no-server")
    assert (other.code, "was started with other parameters" in other.err) == (3, True)
    assert (directory / "journal.jsonl").read_bytes() == journal


def test_pins_are_written() -> None:
    """Into the right tables; comments and all else stay."""
    text = (site.SITES / "production.toml").read_text()
    second = Pin("[regions.cluster]", 1, "uid", "regions[us-east-1].cluster.uid", "b3c1c9de", "NEW")
    database = Pin("[[databases]]", 0, "system_identifier", "databases[orders]", None, "42")
    file = Path("production.toml")
    after = site_pins.written(site_pins.written(text, second, file), database, file)
    changed = [(a, b) for a, b in zip(text.splitlines(), after.splitlines(), strict=True) if a != b]
    assert [new for _, new in changed] == [
        'uid = "NEW"',
        'system_identifier = "42"       # pg_control_system(): pins the database cluster',
    ]
    assert changed[0][0] == 'uid = "b3c1c9de-77aa-4c51-8a9e-2f4b7d0e6c22"'


def test_plan_is_what_is_approved() -> None:
    """A loss that the plan names is part of its hash."""
    from tasks import approvals

    assert approvals.plan_sha256(PLAN) != approvals.plan_sha256(PLAN | {"bound_seconds": 0.0})

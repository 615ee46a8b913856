"""The page that somebody types from at night."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from runbooks import database_ways, documents, printed, site
from runbooks.database_ways import SCENARIO, Options, Way
from runbooks.documents import FENCE
from runbooks.errors import Refused
from runbooks.objectives import DEFAULTS
from runbooks.printed import Page
from runbooks.records import RunKind
from runbooks.render import markup, runbook
from runbooks.values import Chosen
from tests.runbooks.pages import Text

EXAMPLE = site.load("production")
ORDERS = EXAMPLE.application("orders")
AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
KNOWN = Chosen("orders-0845", "the newest of 12 usable backups, begun 2026-11-23T08:45:00Z")
UNKNOWN = Chosen(None, "no answer from the cluster")
PAGES = [(scenario, kind) for scenario in documents.scenarios() for kind in RunKind]


def page(scenario: str = "namespace-deletion", kind: RunKind = RunKind.INCIDENT, chosen: Chosen = KNOWN) -> Page:
    return printed.page(documents.load(scenario), EXAMPLE, ORDERS, kind, chosen, AT)


@pytest.mark.parametrize(("scenario", "kind"), PAGES)
def test_everything_is_filled_in(scenario: str, kind: RunKind) -> None:
    """Every name, the backup in every command, and only the steps of this kind of run; a shell can read all of it."""
    found = printed.markdown(page(scenario, kind))
    assert "{{" not in found
    commands = "".join(block["commands"] for block in FENCE.finditer(found))
    assert "BACKUP" not in commands.replace("BACKUP=orders-0845", "")
    checked = subprocess.run(["bash", "-n"], input=commands, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    document = documents.load(scenario)
    steps = re.findall(r"^### ([a-z_.]+): ", found, re.MULTILINE)
    assert steps == [step for step in document.steps if kind in document.kinds_of(step)]


@pytest.mark.parametrize(("scenario", "kind"), PAGES)
def test_same_commands_on_both_pages(scenario: str, kind: RunKind) -> None:
    """The HTML says what the Markdown says, and needs no other file."""
    found = page(scenario, kind)
    html = Text(runbook.page(found))
    blocks = [block["commands"].rstrip() for block in FENCE.finditer(printed.markdown(found))]
    assert html.blocks == blocks
    assert "http" not in re.sub(r"https?://orders", "", html.words)


@pytest.mark.parametrize("scenario", documents.scenarios())
def test_each_command_says_what_is_expected(scenario: str) -> None:
    """A comment behind it or below it: who types at night sees at once when something is not as it should be."""
    silent = []
    for step in (s for part in page(scenario).parts for s in part.steps):
        for block in FENCE.finditer(step.text):
            lines = block["commands"].splitlines()
            commands = [n for n, line in enumerate(lines) if line and not line.startswith(("#", " "))]
            for n, end in zip(commands, [*commands, len(lines)][1:], strict=True):
                if not any("# expected" in line for line in lines[n:end]):
                    silent.append(lines[n])
    assert silent == []


def test_backup_that_nobody_knows() -> None:
    """The page says why, and the terminal refuses to go on without a name."""
    found = printed.markdown(page(chosen=UNKNOWN))
    assert "to be chosen by hand: no answer from the cluster" in found
    [line] = [line for line in found.splitlines() if line.startswith("BACKUP=")]
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "put in the name that you chose" in done.stderr


def test_clock_runs_on() -> None:
    """Each phase says when it should be over, counted from the beginning; the last green is within the RTO."""
    found = page()
    budgets = [part.budget for part in found.parts]
    assert [part.until for part in found.parts] == [sum(budgets[: n + 1], timedelta()) for n in range(len(budgets))]
    [validated] = [part.until for part in found.parts if part.heading == "Validate"]
    assert validated <= DEFAULTS["namespace-deletion"].rto
    assert "| Validate | 15 min | +1:30 |" in printed.markdown(found)


def test_where_to_stop_stands_out() -> None:
    """In a box of its own, in more places than the beginning."""
    html = runbook.page(page())
    assert html.count('<p class="stop">') >= 5


def test_markup() -> None:
    """Paragraphs, lists, code, bold, commands with what is expected; nothing passes as HTML by itself."""
    found = markup.html("A **b** `<c>`:\n\n- one\n- two\n  lines\n\n```sh\nx | y  # expected: z\n```\n")
    assert found == (
        "<p>A <b>b</b> <code>&lt;c&gt;</code>:</p><ul><li>one\n</li><li>two\n  lines</li></ul>"
        '<pre><span class="line">x | y  <span class="said"># expected: z</span></span></pre>'
    )


@pytest.mark.parametrize("way", Way)
def test_one_way_back(way: Way) -> None:
    """Its commands alone, with the set and the place where recovery stops; a directory aside that no other page has."""
    options = Options(way=way, table="payments", target_xid=777)
    found = printed.markdown(
        printed.page(documents.load(SCENARIO), EXAMPLE, ORDERS, RunKind.INCIDENT, KNOWN, AT, options)
    )
    assert f"- **way**: {way} alone" in found
    assert "only for" not in found
    assert ("--target=777 --target-exclusive" in found) == (way in (Way.POINT_IN_TIME, Way.TABLE))
    assert ("pg_promote" in found) == (way is Way.PROMOTE)
    assert ("orders-0845" in found.partition("## Prepare")[2]) == (way is not Way.PROMOTE)
    assert ("$DATA.aside-20261123-090000" in found) == (way is not Way.TABLE)


def test_sandbox_page_leaves_the_original_alone() -> None:
    """Nothing that is printed for a drill beside stops, fences, moves or restores the original."""
    found = "".join(b["commands"] for b in FENCE.finditer(printed.markdown(page(SCENARIO, RunKind.SANDBOX))))
    after = found.partition("pg_dump")[2]
    assert [word for word in ("mv ", "stop postgresql", "fence;", " restore ", "alter system") if word in after] == []


def test_parameters_of_a_page() -> None:
    """What is wrong with them is said, and what there is."""
    with pytest.raises(Refused, match="the page of file-restore has no way"):
        database_ways.parsed("file-restore", {"way": "full"})
    with pytest.raises(Refused, match="wrong parameters: way: Input should be 'delta', 'full'"):
        database_ways.parsed(SCENARIO, {"way": "fully"})
    with pytest.raises(Refused, match="way=table needs table=NAME"):
        database_ways.parsed(SCENARIO, {"way": "table"})
    assert database_ways.parsed(SCENARIO, {"target_xid": "777"}).target_xid == 777

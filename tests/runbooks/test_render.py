"""What people read: the verdict at once, nothing taken for markup, nothing fetched from anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from runbooks import evidence, outside, render, report
from runbooks.render import html, markdown, scale, timeline, words
from runbooks.render import plan as plans
from runbooks.render.style import COLOURS, CSS, ICONS
from runbooks.report import Holder, Report
from runbooks.verdict import Verdict
from tests.runbooks import journals
from tests.runbooks.journals import MAKERS, Evidence, at, check, finding

Maker = Callable[[Path], Path]
EVIL = '<script>alert("x")</script> | a*b_c_ [d](e) `f` </style> &amp; é'
every_run = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def built(directory: Path) -> Report:
    return report.build(directory, holder=Holder.GONE)


def page(directory: Path) -> str:
    samples = outside.read(directory / "samples.jsonl")
    return html.page(built(directory), samples, evidence.of(directory))


def text(directory: Path) -> str:
    return markdown.page(built(directory), evidence.of(directory))


def drawing(directory: Path) -> ElementTree.Element:
    return ElementTree.fromstring(timeline.svg(built(directory), outside.read(directory / "samples.jsonl")))


class Page(HTMLParser):
    """Tags in order, open ones, and what would be asked of a network."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.texts: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self.fetched += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@every_run
def test_page_stands_alone(tmp_path: Path, make: Maker) -> None:
    """No script, nothing fetched, every tag closed, a language, one main heading."""
    source = page(make(tmp_path))
    seen = Page(source)
    assert (seen.open, seen.fetched) == ([], [])
    assert "script" not in seen.tags
    assert "link" not in seen.tags
    assert not re.search(r"url\((?!#)|@import", source)
    assert seen.tags.count("h1") == 1
    assert '<html lang="en">' in source


@every_run
def test_verdict_first(tmp_path: Path, make: Maker) -> None:
    """In words, before everything else, on the page and in Markdown."""
    directory = make(tmp_path)
    title = words.TITLES[built(directory).verdict]
    assert f"<h1>{title}</h1>" in page(directory)
    assert text(directory).startswith(f"# {title.upper()}: namespace-deletion of orders\n")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (journals.passed, "orders is back, proven by 8 checks, within both objectives."),
        (journals.late, "orders is back, proven by 5 checks, but the RTO was missed: 2 h 16 min instead of 1 h."),
        (
            journals.not_recovered,
            "orders was not brought back as planned: 3 of 10 checks not passed. "
            "The service is back, through the safety net.",
        ),
        (journals.refused, "Nothing was changed: a condition for this run does not hold."),
        (journals.aborted, "A person ended the run after it had changed something. orders is DOWN."),
        (journals.interrupted, "The run's process is gone and recorded no end. orders is DOWN."),
        (journals.killed_and_resumed, "orders is back, proven by 8 checks, within both objectives."),
        (journals.sandbox, "A copy of orders is back, proven by 9 checks, within both objectives."),
        (
            journals.incident_without_observer,
            "orders is back, proven by 8 checks, but whether the RTO of 2 h was met cannot be told (≥ 14 min).",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_headline(tmp_path: Path, make: Maker, expected: str) -> None:
    """One or two sentences that are true."""
    assert words.headline(built(make(tmp_path))) == expected


def test_what_to_do(tmp_path: Path) -> None:
    """Who opens the page of a run that went wrong reads the next command."""
    found = built(journals.interrupted(tmp_path))
    assert words.to_do(found) == [
        "Go on with this run: dr run namespace-deletion --site lab --run-id 20261123-110000-f6a7"
    ]
    refused = words.to_do(built(journals.refused(tmp_path)))
    assert refused[0].startswith("take one now: velero backup create")
    down = Evidence(tmp_path, "down").open().set("10:00", "restore").add("write", what="create Restore", target={})
    down.add("checks", checks=[check("health", "UP", "no answer", "failed")], weakly_checked=[])
    failed = built(down.end("10:01", service="down").directory)
    assert words.to_do(failed)[0].startswith("The service is not back: go on by hand")
    assert words.broken(failed) == ["health: expected UP, observed no answer"]


def test_checks_that_failed_stand_first(tmp_path: Path) -> None:
    """Also those that were not run come before the green ones."""
    statuses = [c.status.value for c in words.checks(built(journals.not_recovered(tmp_path)))]
    assert statuses == ["failed"] * 2 + ["not_run"] + ["passed"] * 7


def evil(tmp_path: Path) -> Path:
    run = Evidence(tmp_path, "evil").open().set("10:00", "restore").add("write", what=EVIL, target={"name": EVIL})
    run.add("checks", checks=[check(EVIL, EVIL, EVIL, "failed")], weakly_checked=[EVIL])
    run.add("finding", **finding(EVIL, EVIL, EVIL, "red")).add("improvement", text=EVIL).add("unknown", what=EVIL)
    run.add("event", text=f"# {EVIL}\n\n- more").add("remaining", steps=[EVIL, "~~~~"])
    run.add("approval", who=EVIL, authenticated=EVIL, why=EVIL, loss=EVIL, at="2026-11-23T10:00:00Z")
    run.add("notification", what=EVIL, status="failed", why=EVIL).add("tools", **{EVIL: EVIL})
    run.add("clean_up", step=EVIL, status="failed", why=EVIL).add("skew", system=EVIL, seconds=1)
    run.add("application", name="orders", target={EVIL: EVIL}, kept=[EVIL], way=EVIL)
    return run.end("10:01", service="down").directory


def test_text_that_looks_like_markup(tmp_path: Path) -> None:
    """Everything that was recorded is shown as it was, and none of it becomes part of the page."""
    source = page(evil(tmp_path))
    seen = Page(source)
    assert seen.open == []
    assert "script" not in seen.tags
    assert any(EVIL in t for t in seen.texts)
    assert source.count("</style>") == 1


def test_text_that_looks_like_markdown(tmp_path: Path) -> None:
    """A table keeps its columns, and no text becomes HTML, a link or a heading."""
    source = text(evil(tmp_path))
    before, _, after = source.partition("~~~~~sh\n")
    rest = before + after.partition("\n~~~~~\n")[2]
    assert "<script" not in rest
    assert "[d](e)" not in rest
    for table in re.findall(r"(?:^\|.*\n?)+", source, re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, table
    assert "\n# " not in source


def test_commands_are_left_alone(tmp_path: Path) -> None:
    """They are to be pasted into a shell: nothing in them is escaped in Markdown, and the page shows them the same."""
    left = ["velero restore describe dr-c3d4 --details", "kubectl -n orders get pvc invoices -o wide"]
    directory = journals.not_recovered(tmp_path)
    assert "~~~sh\n" + "\n".join(left) + "\n~~~" in text(directory)
    assert "<pre>" + "\n".join(left) + "</pre>" in page(directory)


@every_run
def test_drawing_tells_itself(tmp_path: Path, make: Maker) -> None:
    """It is one well-formed image with a title and a description for those who cannot see it."""
    root = drawing(make(tmp_path))
    found = {child.tag.rpartition("}")[2]: child for child in root}
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"].split() == [found["title"].attrib["id"], found["desc"].attrib["id"]]
    assert "Outage as clients saw it" in str(found["desc"].text)


def texts(root: ElementTree.Element) -> list[tuple[str, float, float, float]]:
    """Text, left, right and baseline of each."""
    found = []
    for one in root.iter("{http://www.w3.org/2000/svg}text"):
        size = float(one.attrib.get("font-size", timeline.TYPE))
        x, long = float(one.attrib["x"]), scale.width(str(one.text), size)
        left = x - {"start": 0, "middle": long / 2, "end": long}[one.attrib.get("text-anchor", "start")]
        found.append((str(one.text), left, left + long, float(one.attrib["y"])))
    return found


@every_run
def test_no_text_on_another(tmp_path: Path, make: Maker) -> None:
    """Each label can be read, and none is cut off at the edge."""
    found = texts(drawing(make(tmp_path)))
    for one, other in combinations(found, 2):
        apart = abs(one[3] - other[3]) >= timeline.TYPE - 2 or one[2] <= other[1] or other[2] <= one[1]
        assert apart, (one, other)
    assert all(left >= 0 and right <= timeline.WIDTH for _, left, right, _ in found)


def test_rto_in_the_drawing(tmp_path: Path) -> None:
    """Where it ends within the run it is drawn, else it is named; the span that counts is there."""
    inside = [t for t, *_ in texts(drawing(journals.late(tmp_path)))]
    assert {"RTO ends 09:00:00", "actual RTO 2 h 16 min"} <= set(inside)
    outside_ = [t for t, *_ in texts(drawing(journals.passed(tmp_path)))]
    assert {"RTO ends 12:00:00, beyond the drawing →", "actual RTO 33 s"} <= set(outside_)


def fills(root: ElementTree.Element) -> set[str]:
    return {rect.attrib["fill"] for rect in root.iter("{http://www.w3.org/2000/svg}rect") if len(rect)}


def test_samples_in_the_drawing(tmp_path: Path) -> None:
    """Green, red, and a gap that is hatched: nobody looked."""
    directory = journals.passed(tmp_path)
    assert fills(drawing(directory)) == {timeline.GREEN, timeline.RED}
    path = directory / "samples.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:60] + lines[70:]))
    assert fills(drawing(directory)) == {timeline.GREEN, timeline.RED, "url(#gap)"}


def test_run_over_midnight(tmp_path: Path) -> None:
    """The drawing has its instants in order, and the page shows the other day's date."""
    run = Evidence(tmp_path, "r").set("23:58").open().clock("fault", "23:59").set("24:10", "restore")
    run.step("velero.restore", "24:10", "24:20").clock("restored", "24:20")
    directory = run.end("24:21", service="down").directory
    assert "2026-11-24 00:20:00" in page(directory)
    assert "00:10:00" in [t for t, *_ in texts(drawing(directory))]


@pytest.mark.parametrize("verdict", list(Verdict))
def test_verdicts_look_different(verdict: Verdict) -> None:
    """Each has a word, a colour that white can be read on, and a sign of its own."""
    assert contrast("#ffffff", COLOURS[verdict]) >= 4.5
    assert list(ICONS.values()).count(ICONS[verdict]) == 1
    assert words.TITLES[verdict]


@pytest.mark.parametrize("name", ["ink", "soft", "good", "bad", "warn"])
def test_colours_of_text(name: str) -> None:
    """They can be read on white and on the washed rows."""
    colour = re.search(rf"--{name}: (#\w+)", CSS)
    assert colour
    assert contrast(colour[1], "#ffffff") >= 4.5
    assert contrast(colour[1], "#fdf1f1") >= 4.5


@pytest.mark.parametrize("colour", [timeline.BLUE, timeline.RED, timeline.AMBER])
def test_colours_of_bars(colour: str) -> None:
    """White can be read on them."""
    assert contrast("#ffffff", colour) >= 4.5


def contrast(one: str, other: str) -> float:
    """As WCAG 2 computes it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_page_can_be_printed() -> None:
    """A4, and no row, figure or tile is cut in two."""
    assert "size: A4" in CSS
    assert "break-inside: avoid" in CSS


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (0.44, "0.4 s"),
        (33, "33 s"),
        (59.96, "1 min"),
        (60, "1 min"),
        (340.4, "5 min 40 s"),
        (3599.6, "1 h"),
        (8160, "2 h 16 min"),
        (86400, "1 d"),
        (100000, "1 d 3 h"),
        (None, "unknown"),
    ],
)
def test_span(seconds: float | None, expected: str) -> None:
    """Two units at most, and never "1 min 60 s"."""
    assert words.span(seconds) == expected


@pytest.mark.parametrize(
    ("end", "first", "last", "count"),
    [
        ("10:00:07", "10:00:00", "10:00:07", 8),
        ("10:01:10", "10:00:00", "10:01:10", 8),
        ("14:20", "10:00:00", "14:00:00", 9),
    ],
)
def test_ticks(end: str, first: str, last: str, count: int) -> None:
    """Round instants, and not too many."""
    ticks = scale.Scale(at("10:00"), at(end), 0, 100).ticks()
    assert (f"{ticks[0]:%H:%M:%S}", f"{ticks[-1]:%H:%M:%S}", len(ticks)) == (first, last, count)


def test_listing(tmp_path: Path) -> None:
    """One line a run, the newest first, against its targets."""
    found = [built(make(tmp_path)) for make in (journals.incident_without_observer, journals.passed, journals.refused)]
    lines = render.listing(found[:2]).splitlines()
    assert [re.split(r"  +", line) for line in lines[1:]] == [
        ["2026-11-23 09:59", "20261123-095900-4f2a", "namespace-deletion", "drill", "orders", "passed",
         "33 s / 2 h", "12 min / 30 min", "1"],
        ["2026-11-23 03:10", "20261123-031000-c9d0", "namespace-deletion", "incident", "orders", "late",
         "≥ 14 min / 2 h", "≤ 15 min / 30 min", "0"],
    ]  # fmt: skip
    assert render.listing(found[2:]).endswith("refused  – / 2 h  – / 30 min  1 (1 red)")
    assert render.listing([]) == "no runs yet"


def test_plan_of_a_database() -> None:
    """The way, what it loses, and each other way with its time: a person agrees to these words."""
    ways = [
        {"way": "point-in-time", "eta_seconds": 16, "is_possible": True, "why": "all files anew", "loses": "12 min"},
        {"way": "delta", "eta_seconds": 11, "is_possible": False, "why": "the data is wrong", "loses": "nothing"},
    ]
    plan = {
        "database": "orders on db-1", "why": "it answers", "fault": "2026-11-23T08:00:00.000000Z",
        "way": "point-in-time", "backup": "20261123-020000F", "standby": None, "ways": ways,
        "target": {"kind": "xid", "value": "812", "told": "the first since 8:00"},
        "expected_loss": {"rows:orders": 0.0},
    }  # fmt: skip
    assert plans.lines(plan) == (
        "database orders on db-1: it answers",
        "broken since 2026-11-23T08:00:00.000000Z",
        "way point-in-time, from backup 20261123-020000F: all files anew; takes about 16 s",
        "the data is good up to just before transaction 812 (the first since 8:00)",
        "expected loss: 12 min",
        "expected loss of rows:orders from before the fault: nothing",
        "  not possible: delta, about 11 s, loses nothing: the data is wrong",
    )

"""What a run says in the channel. Slack takes 50 blocks of a message and 3,000 characters of a section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runbooks.model import Json, rfc3339
from runbooks.records import RunKind
from runbooks.render import plan
from runbooks.report_schema import Report, ReportPhase
from tasks.cases import Case

MOST_BLOCKS = 50
LONGEST_SECTION = 3_000
LONGEST_TEXT = 13_000
LONGEST_HEADER = 150
CALM = {
    RunKind.DRILL: "This is a drill: it was broken on purpose.\n",
    RunKind.SANDBOX: "This is a drill beside the original, which stays as it is.\n",
    RunKind.INCIDENT: "Please do not deploy until it is over.\n",
}
Block = dict[str, Json]
ICONS = {"passed": "✅", "late": "🟡", "refused": "✋", "not_recovered": "🔴"}


@dataclass(frozen=True)
class Message:
    """`what` is its name in the journal: alert, "phase restore", result."""

    what: str
    text: str
    blocks: tuple[Block, ...]
    kind: Literal["alert", "reply", "result"] = "reply"


def alert(case: Case) -> Message:
    title = f"{case.mode.value.upper()} {case.scenario}: {case.application.name}"
    facts = [
        ("Site", case.site.name),
        ("Run", case.run_id),
        ("Started by", case.attempt.actor or str(_opened(case).get("claimed", "unknown"))),
        ("Fault", _at(case, "fault")),
        ("Declared", _at(case, "declared")),
    ]
    told = "\n".join([*(f"*{name}:* {escape(value)}" for name, value in facts), *_planned(case)])
    calm = CALM[case.kind]
    return Message("alert", title, (header(f"🚨 {title}"), section(calm + told)), "alert")


def _planned(case: Case) -> list[str]:
    """What an incident is going to do, and how a person says yes to it."""
    if case.is_drill or not any(case.journal.of("plan")):
        return []
    lines = [f"• {escape(line.strip())}" for line in plan.of_incident(case.plan)]
    if case.mode.value in case.site.approval.required_for:
        lines.append(f"*Waits for approval:* `dr approve {case.run_id} --as WHO --why WHY --loss LOSS`, or in Prefect")
    return ["*Plan:*", *lines] if lines else []


def _opened(case: Case) -> dict[str, Json]:
    for entry in case.journal.of("opened"):
        actor = entry.data["actor"]
        return actor if isinstance(actor, dict) else {}
    return {}


def _at(case: Case, clock: str) -> str:
    at = case.clock_of(clock)
    return "unknown" if at is None else rfc3339(at)


def resumed(attempt: int, host: str) -> Message:
    text = f"Resumed: attempt {attempt}, on {host}"
    return Message(f"attempt {attempt}", text, (section(escape(text)),))


def phase(ended: ReportPhase) -> Message:
    budget = "" if ended.budget_seconds is None else f" of {_span(ended.budget_seconds)}"
    text = f"{ended.name}: {ended.status}, {_span(ended.seconds)}{budget}"
    return Message(
        f"phase {ended.name}", text, (section(f"*{escape(ended.name)}*: {escape(text.partition(': ')[2])}"),)
    )


def result(report: Report, *, link: str, head: str) -> Message:
    """The verdict, the measures against the objectives, what to repair, and where the whole report is."""
    verdict = str(report.verdict)
    title = f"{ICONS.get(verdict, '⚪')} {verdict.replace('_', ' ')}: {report.mode.value} {report.scenario}"
    actual, targets = report.actual, report.objectives
    rto = _span(actual.rto_seconds) if actual.rto_seconds is not None else _at_least(actual.rto_at_least_seconds)
    lines = [
        f"*Service:* {report.service}",
        f"*RTO:* {rto} (objective {_span(targets.rto_seconds)})",
        f"*RPO:* {_span(actual.rpo_seconds)} (objective {_span(targets.rpo_seconds)})",
        f"*Outage:* {_span(actual.outage_seconds)}",
        *(f"*{f.severity.value}:* {escape(f.problem)}" for f in report.findings),
    ]
    proof = section(f"*Report:* {escape(link)}\n*Journal:* `{head}`")
    text = f"{title} (run {report.run_id})"
    return Message("result", text, (header(title), section("\n".join(lines)), proof), "result")


def _at_least(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"at least {_span(seconds)}"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def header(text: str) -> Block:
    return {"type": "header", "text": {"type": "plain_text", "text": text[:LONGEST_HEADER]}}


def section(text: str) -> Block:
    shown = text if len(text) <= LONGEST_SECTION else f"{text[: LONGEST_SECTION - 1]}…"
    return {"type": "section", "text": {"type": "mrkdwn", "text": shown}}


def escape(text: str) -> str:
    """Source: Slack, formatting text: these three, and no others."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fitting(messages: Sequence[Message]) -> int:
    """How many of the messages go into one, from the first on; at least one does."""
    blocks = length = 0
    for number, message in enumerate(messages):
        blocks += len(message.blocks)
        length += sum(len(str(block)) for block in message.blocks)
        if number and (blocks > MOST_BLOCKS or length > LONGEST_TEXT):
            return number
    return len(messages)

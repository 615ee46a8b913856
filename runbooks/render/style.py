"""How the page looks, on a screen and on A4. Each text keeps a contrast of at least 4.5 : 1."""

from __future__ import annotations

from pathlib import Path

from runbooks.verdict import Verdict

COLOURS = {
    Verdict.PASSED: "#17663a",
    Verdict.LATE: "#8a4b00",
    Verdict.NOT_RECOVERED: "#a3161f",
    Verdict.REFUSED: "#3b4759",
    Verdict.ABORTED: "#5a2d82",
    Verdict.INTERRUPTED: "#7a3b12",
    Verdict.RUNNING: "#24527a",
}
ICONS = {
    Verdict.PASSED: "M9 21l8 8 15-17",
    Verdict.LATE: "M20 10v11l8 5",
    Verdict.NOT_RECOVERED: "M12 12l16 16M28 12L12 28",
    Verdict.REFUSED: "M10 20h20",
    Verdict.ABORTED: "M14 14h12v12H14z",
    Verdict.INTERRUPTED: "M22 9l-8 12h11l-7 11",
    Verdict.RUNNING: "M15 12l13 8-13 8z",
}
"""A line of its own for each verdict: the colour is never the only sign."""

CSS = Path(__file__).with_name("report.css").read_text()
RUNBOOK_CSS = Path(__file__).with_name("runbook.css").read_text()

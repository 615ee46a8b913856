"""A report for people: as Markdown, as a page that prints well, as a drawing of its timeline, as a line of a list."""

from __future__ import annotations

from runbooks.render.listing import listing

__all__ = ["listing"]

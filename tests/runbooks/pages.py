"""Reads a printed page as a person does."""

from __future__ import annotations

from html.parser import HTMLParser


class Text(HTMLParser):
    """What a reader of the page sees: the commands apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.blocks: list[str] = []
        self.words = ""
        self._is_command = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "pre":
            self._is_command = True
            self.blocks.append("")
        assert tag not in ("script", "link", "img", "iframe"), "it needs another file"

    def handle_endtag(self, tag: str) -> None:
        self._is_command = self._is_command and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._is_command:
            self.blocks[-1] += data
        else:
            self.words += data

"""Secrets are found where the site says, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbooks.errors import Refused
from runbooks.site import Secret
from tasks import secrets


def test_file(tmp_path: Path) -> None:
    """The line's end is not part of it."""
    (tmp_path / "token").write_text("xoxb-1\n")
    assert secrets.read(Secret(where=f"file:{tmp_path}/token")) == "xoxb-1"


def test_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable is read when it is asked for."""
    monkeypatch.setenv("DR_TEST_SECRET", "one")
    assert secrets.read(Secret(where="env:DR_TEST_SECRET")) == "one"


@pytest.mark.parametrize("where", ["env:DR_TEST_NOT_SET", "file:/does/not/exist"])
def test_missing(where: str) -> None:
    """The error names the reference and says what to do."""
    with pytest.raises(Refused, match=f"the secret {where} is missing or empty\nHINT: "):
        secrets.read(Secret(where=where))


def test_empty_file(tmp_path: Path) -> None:
    """An empty secret would pass as a password."""
    (tmp_path / "token").write_text("\n")
    with pytest.raises(Refused, match="missing or empty"):
        secrets.read(Secret(where=f"file:{tmp_path}/token"))

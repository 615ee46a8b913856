from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import zygote
from tests.drills.stage import Stage, stage
from tests.zygote import Zygote


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.drills)


@pytest.fixture(scope="session")
def forks() -> Iterator[Zygote]:
    with zygote.serve() as made:
        yield made


@pytest.fixture
def drill(forks: Zygote, tmp_path: Path) -> Iterator[Stage]:
    """A world in good order, made for one test."""
    with stage(forks, tmp_path) as made:
        yield made

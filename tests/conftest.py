from __future__ import annotations

import pytest

from tests.lab import the_lab
from tests.lab.the_lab import TheLab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the one lab run after each other; those with labs of their own may run beside them."""
    for item in items:
        if item.get_closest_marker("lab") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("the lab"))


@pytest.fixture(scope="session")
def lab() -> TheLab:
    """One lab serves the whole session. A lab that does not come up fails the tests that need it."""
    return the_lab.up()

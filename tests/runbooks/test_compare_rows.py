"""Rows up to the keys recorded before: as many, and the same."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runbooks import compare
from runbooks.records import Difference, RowsState, TableState

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
ORDERS = TableState(table="orders", up_to=12400, rows=12345, digest="a" * 20 + "000000001111")
ITEMS = TableState(table="items", up_to=50000, rows=49000, digest="c" * 32)


def state(*tables: TableState) -> RowsState:
    return RowsState(store="rows:orders", taken_at=AT, tables=tables)


def test_same_rows() -> None:
    """Rows written since then lie above the key and do no harm."""
    comparison = compare.rows(state(ORDERS, ITEMS), state(ITEMS, ORDERS))
    assert (comparison.differences, comparison.compared) == ((), 61345)


@pytest.mark.parametrize(
    ("change", "expected", "observed"),
    [
        pytest.param({"rows": 12344}, "12345 rows up to 12400", "12344 rows up to 12400", id="row missing"),
        pytest.param({"rows": 12346}, "12345 rows up to 12400", "12346 rows up to 12400", id="row too many"),
        pytest.param(
            {"digest": "a" * 20 + "000000002222"},
            "12345 rows up to 12400 with digest …000000001111",
            "as many, with digest …000000002222",
            id="order changed",
        ),
        pytest.param({"up_to": 99}, "rows up to 12400", "rows up to 99", id="other rows were asked for"),
    ],
)
def test_wrong_rows(change: dict[str, int | str], expected: str, observed: str) -> None:
    """One difference, naming the table."""
    comparison = compare.rows(state(ORDERS), state(ORDERS.model_copy(update=change)))
    assert comparison.differences == (
        Difference(where="rows:orders table orders", expected=expected, observed=observed),
    )


def test_table_gone() -> None:
    """It is missing, not empty."""
    comparison = compare.rows(state(ORDERS, ITEMS), state(ORDERS))
    assert comparison.differences == (
        Difference(where="rows:orders table items", expected="present", observed="missing"),
    )


def test_table_nobody_recorded() -> None:
    """A table without a counterpart is never green."""
    assert compare.rows(state(ORDERS), state(ORDERS, ITEMS)).differences[0].observed == "present"


def test_no_tables() -> None:
    """Nothing to compare is red."""
    assert compare.rows(state(), state()).differences[0].observed == "none was recorded before"

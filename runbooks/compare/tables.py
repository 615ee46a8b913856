"""Rows of a database: how many, and one digest over them, up to the keys recorded before."""

from __future__ import annotations

from collections.abc import Iterator

from runbooks.compare.comparison import ABSENT, MISSING, PRESENT, Comparison
from runbooks.records import Difference, RowsState, TableState

SHORT = 12  # the end of a digest: of a sum it is the end that any row changes


def rows(before: RowsState, after: RowsState) -> Comparison:
    """Each table of *before* must hold the same rows after; rows with greater keys do no harm."""
    old, new = ({t.table: t for t in state.tables} for state in (before, after))
    names = sorted(old.keys() | new.keys())
    found = [d for name in names for d in _in(before.store, name, old.get(name), new.get(name))]
    if not old:
        found.append(Difference(where=before.store, expected="tables to compare", observed="none was recorded before"))
    return Comparison(differences=tuple(found), weakly_checked=(), compared=sum(t.rows for t in before.tables))


def _in(store: str, name: str, old: TableState | None, new: TableState | None) -> Iterator[Difference]:
    where = f"{store} table {name}"
    if old is None or new is None:
        expected, observed = (PRESENT, MISSING) if old else (ABSENT, PRESENT)
        yield Difference(where=where, expected=expected, observed=observed)
    elif old.up_to != new.up_to:
        yield Difference(where=where, expected=f"rows up to {old.up_to}", observed=f"rows up to {new.up_to}")
    elif old.rows != new.rows:
        yield Difference(where=where, expected=_count(old), observed=_count(new))
    elif old.digest != new.digest:
        yield Difference(
            where=where,
            expected=f"{_count(old)} with digest …{old.digest[-SHORT:]}",
            observed=f"as many, with digest …{new.digest[-SHORT:]}",
        )


def _count(table: TableState) -> str:
    return f"{table.rows} rows up to {table.up_to}"

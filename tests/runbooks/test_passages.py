"""Who reads which passage of a runbook."""

from __future__ import annotations

import pytest

from runbooks import passages
from runbooks.database_ways import Way
from runbooks.records import RunKind

TEXT = """For all.

(delta, full) Files.

```sh
restore

(full) is no mark in here
```

(sandbox) Beside.

```sh
copy
```

(promote, drill, incident) Not beside.

```sh
promote
```

(or so) For all, too.
"""


@pytest.mark.parametrize(
    ("way", "kind", "has", "has_not"),
    [
        (Way.DELTA, RunKind.INCIDENT, ["\nFiles.", "restore"], ["promote", "Beside", "copy", "(delta"]),
        (Way.PROMOTE, RunKind.DRILL, ["\nNot beside.", "promote"], ["Files", "restore", "Beside", "copy"]),
        (Way.PROMOTE, RunKind.SANDBOX, ["\nBeside.", "copy"], ["Not beside", "promote", "Files"]),
        (
            None,
            RunKind.INCIDENT,
            ["(delta, full) Files.", "# only for: delta, full\nrestore", "(promote) Not"],
            ["copy"],
        ),
    ],
)
def test_passages(way: Way | None, kind: RunKind, has: list[str], has_not: list[str]) -> None:
    """One for other ways or kinds of run is left out with its commands; where the way is not known, they say for
    which they are."""
    found = passages.chosen(TEXT, way, kind)
    assert [one for one in (*has, "For all.", "(or so) For all, too.") if one not in found] == []
    assert [one for one in has_not if one in found] == []
    assert ("(full) is no mark" in found) == ("restore" in found)

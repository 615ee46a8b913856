"""A restore that a killed attempt has left at work is found among the processes of its host, and no stranger's is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks.database_files import LEFT

AS_PGBACKREST = "exec -a pgbackrest perl -e 'print qq(up\\n); $| = 1; print qq(up\\n); sleep 60' -- \"$@\""


@pytest.mark.parametrize(("arguments", "is_ours"), [
    (("--config={ours}", "--stanza=lab", "restore"), True),
    (("--config={ours}", "--stanza=lab", "--pg1-path={data}", "restore"), True),
    (("--config={ours}", "--stanza=lab", "--pg1-path={data}.copy", "restore"), False),
    (("--config={ours}", "--stanza=lab", "backup"), False),
    (("--config={ours}.other", "--stanza=lab", "restore"), False),
    (("--stanza=lab", "restore"), False),
])  # fmt: skip
def test_restore_that_is_left(tmp_path: Path, arguments: tuple[str, ...], is_ours: bool) -> None:
    """By configuration, stanza and data directory: another database of the host may have a stanza of that name."""
    ours, data = tmp_path / "pgbackrest.conf", tmp_path / "data"
    ours.write_text(f"[lab]\npg1-path={data}\n")
    argv = [argument.format(ours=ours, data=data) for argument in arguments]
    with subprocess.Popen(["bash", "-c", AS_PGBACKREST, "bash", *argv, ""], stdout=subprocess.PIPE) as at_work:
        assert at_work.stdout is not None
        at_work.stdout.readline()
        found = subprocess.run(["sh", "-euc", LEFT, "sh", "lab", str(data), str(ours)], capture_output=True, text=True,
                               check=True).stdout.split()  # fmt: skip
        at_work.kill()
    assert found == ([str(at_work.pid)] if is_ours else [])

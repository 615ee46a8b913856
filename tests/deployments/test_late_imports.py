"""What `dr` must not import before it has looked at its command line."""

from __future__ import annotations

import subprocess
import sys

from runbooks import site


def test_prefect_is_imported_late() -> None:
    """It reads its server's address then, which a command finds out first; else it starts a server of its own, and
    leaves it behind."""
    script = "import sys, deployments.cli; print('prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=site.PROJECT)
    assert done.stdout.strip() == "False"

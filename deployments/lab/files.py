"""Files that other processes watch, and that a killed `up` must not leave half written."""

from __future__ import annotations

from pathlib import Path
from tempfile import NamedTemporaryFile


def write(path: Path, content: str | bytes, *, mode: int = 0o644) -> Path:
    """*path* holds *content*. Replaced at once, and only when it differs: kube-proxy ends when its file is touched."""
    data = content.encode() if isinstance(content, str) else content
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as draft:
            draft.write(data)
        Path(draft.name).chmod(mode)
        Path(draft.name).replace(path)
    return path

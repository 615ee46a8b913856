"""Stores of small objects: `s3://bucket/prefix`, or `file:///directory` for a site without one."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from runbooks.errors import Refused, Unavailable
from runbooks.site import Bucket
from tasks.clients import s3
from tasks.stored import Changed, Exists, Object, Store

__all__ = ["Changed", "Exists", "FileStore", "Object", "Store", "connect"]
LOCK = ".lock"


def connect(bucket: Bucket) -> Store:
    """Nothing is asked yet. Raises: Refused: a secret or profile that the site file names does not exist."""
    if bucket.url.startswith("file://"):
        return FileStore(Path(bucket.url.removeprefix("file://")))
    return s3.connect(bucket)


class FileStore:
    """A directory. Readers see whole objects; writers take turns, across processes, by one lock."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, body: bytes) -> None:
        with self._alone(key) as path:
            _write(path, body)

    def put_if_absent(self, key: str, body: bytes) -> None:
        with self._alone(key) as path:
            if path.exists():
                raise Exists(f"file://{path} was written by somebody else", "read it again and decide anew")
            _write(path, body)

    def put_if_match(self, key: str, body: bytes, etag: str) -> None:
        with self._alone(key) as path:
            if not path.exists() or _etag(path.read_bytes()) != etag:
                raise Changed(f"file://{path} was written by somebody else", "read it again and decide anew")
            _write(path, body)

    def get(self, key: str) -> Object | None:
        with self._translated(key):
            try:
                body = self._path(key).read_bytes()
            except FileNotFoundError:
                return None
            return Object(body=body, etag=_etag(body))

    def list(self, prefix: str) -> tuple[str, ...]:
        with self._translated(prefix):
            found = (p for p in self._root.rglob("*") if p.is_file() and not p.name.startswith("."))
            keys = (p.relative_to(self._root).as_posix() for p in found)
            return tuple(sorted(key for key in keys if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        with self._alone(key) as path:
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        if not parts or any(part.startswith((".", "/")) for part in parts):
            raise Refused(f"{key!r} cannot be a key of a file store", "use plain names, separated by /")
        return self._root.joinpath(*parts)

    @contextmanager
    def _alone(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        with self._translated(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield path
            finally:
                os.close(lock)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        where = f"file://{self._root}/{key}"
        try:
            yield
        except (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise Refused(f"{where}: {error.strerror}", "mend the rights, or name another directory") from error
        except OSError as error:
            raise Unavailable(f"{where}: {error.strerror}", "is the disk full or read-only?") from error


def _write(path: Path, body: bytes) -> None:
    """All of it or nothing, and on the disk when this returns."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _etag(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()

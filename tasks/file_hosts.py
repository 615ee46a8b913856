"""The way to a file set: its host, and restic on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runbooks.file_sets import FileSet
from runbooks.site import Site
from tasks import hosts, restic
from tasks.host_trees import Host
from tasks.restic import Repository


@contextmanager
def connect(site: Site, of: FileSet) -> Iterator[Repository]:
    """Its repository, asked from its host.

    Raises:
        Unavailable: the host does not answer.
        Refused: it is another host, or does not let us in; a secret is missing.
    """
    with hosts.connect(site, of.host) as shell:
        yield restic.connect(shell, of)


def host_of(repository: Repository) -> Host:
    return Host(repository.shell, repository.of)

"""Finds a run by its id: a person at night does not remember which site it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runbooks import site as sites
from runbooks.errors import Refused
from runbooks.site import Application, Site


@dataclass(frozen=True)
class Found:
    """`name` is what the site is asked for by; `directory` is evidence/<run id>/."""

    name: str
    site: Site
    directory: Path

    @property
    def journal(self) -> Path:
        return self.directory / "journal.jsonl"


def run(run_id: str, site: str | None) -> Found:
    """The run on this host, of that site or of any.

    Raises:
        Refused: there is none of that id here.
    """
    for found in runs(site):
        if found.directory.name == run_id:
            return found
    where = f"site {site}" if site else "any site"
    raise Refused(f"{where} has no run {run_id!r} on this host", "see dr reports list; on another host it may be known")


def runs(site: str | None) -> Iterator[Found]:
    """Every run that left a journal here, oldest first."""
    for name, loaded in _sites(site):
        if loaded.evidence.directory.is_dir():
            for journal in sorted(loaded.evidence.directory.glob("*/journal.jsonl"), key=lambda p: p.stat().st_mtime):
                if not journal.parent.name.startswith("."):  # laid beside, or half fetched
                    yield Found(name, loaded, journal.parent)


def _sites(site: str | None) -> Iterator[tuple[str, Site]]:
    if site is not None:
        yield site, sites.load(site)
        return
    for name in sites.names():
        try:
            yield name, sites.load(name)
        except Refused:
            continue  # nobody asked for this one; `dr site check` says what is wrong with it


def only_application(site: Site) -> Application:
    """Raises: Refused: there are several, or none."""
    if len(site.applications) == 1:
        return site.applications[0]
    raise Refused(
        f"site {site.name} has {len(site.applications)} applications, and none was named",
        f"name one with --application: {', '.join(a.name for a in site.applications)}",
    )

"""Where two states differ: objects, files, rows, identities. Nothing here asks a system."""

from runbooks.compare.comparison import Comparison, Ignored
from runbooks.compare.identity import identities
from runbooks.compare.kube_objects import held, loss, objects
from runbooks.compare.tables import rows
from runbooks.compare.volumes import files

__all__ = ["Comparison", "Ignored", "files", "held", "identities", "loss", "objects", "rows"]

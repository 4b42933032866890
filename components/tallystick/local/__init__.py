"""All parties on this machine: one process each, and one for the dealer. No cluster is needed."""

from tallystick.local.results import Summary
from tallystick.local.supervisor import run

__all__ = ["Summary", "run"]

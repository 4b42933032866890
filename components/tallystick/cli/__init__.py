"""The ``tallystick`` command: one module for each group of commands."""

# Commands stand in the help in the order in which their modules are imported.
from tallystick.cli import jobs, trying, members  # isort: skip
from tallystick.cli.root import app

__all__ = ["app", "jobs", "members", "trying"]

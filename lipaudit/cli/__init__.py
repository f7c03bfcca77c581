"""The command line: the only place that reads argv, prints, writes files and exits."""

from __future__ import annotations

from lipaudit.cli.entry import main

__all__ = ["main"]

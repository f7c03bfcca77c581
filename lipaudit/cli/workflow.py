"""The commands that a runner of GitHub Actions reads from what a step prints: how to write them, how not to.

A command is a line `::kind key=value,…::message`; `%`, line ends and, in values, `:` and `,` are escaped.
An older spelling, `##[kind …]message`, is obeyed anywhere in a line.  Foreign names are printed, too, and one
that is *called* `::stop-commands::x` would be obeyed unless it is broken.

"Workflow commands for GitHub Actions", GitHub Docs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

__all__ = ["command_line", "defused", "is_job"]

_COMMAND = re.compile(r"^(?=[^\S\n]*::)|(?<=#)(?=#\[)", re.MULTILINE)


def is_job() -> bool:
    """Whether the runner of GitHub Actions reads what is printed."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def command_line(kind: str, properties: Mapping[str, str], message: str) -> str:
    """One command, whatever the texts hold."""
    told = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{kind} {told}::{_data(message)}"


def defused(text: str) -> str:
    """Text that no runner obeys: a backslash breaks its commands.  Outside of a job nothing changes."""
    return _COMMAND.sub(r"\\", text) if is_job() else text


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

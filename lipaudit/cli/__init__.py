"""The command line: the only place that reads argv, prints, writes files and exits."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from lipaudit.cli.interrupts import INTERRUPTED, watched

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, as `entry.main` does; loading that takes long enough to be interrupted.

    Args:
        argv: the arguments without the program's name; None means those of this process.

    Returns:
        One of the documented exit codes, whatever happens.
    """
    with watched() as pressed:
        try:
            from lipaudit.cli.entry import main as run  # noqa: PLC0415 -- watched

            return run(argv, pressed)
        except BaseException:
            if not pressed():
                raise
            if sys.stderr is not None:
                with suppress(OSError):
                    sys.stderr.write(INTERRUPTED)
            return 130

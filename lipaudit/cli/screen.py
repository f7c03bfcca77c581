"""How wide the screen is: as wide as the terminal within limits, and of one width in a log."""

from __future__ import annotations

import shutil
import sys

from lipaudit.report.text import NARROWEST, WIDEST, WIDTH

__all__ = ["screen_width"]


def screen_width(widest: int = WIDEST) -> int:
    """Columns for what goes to stdout."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    columns = shutil.get_terminal_size((WIDTH, 24)).columns if on_terminal else WIDTH
    return max(NARROWEST, min(widest, columns))

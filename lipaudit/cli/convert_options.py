"""The options of `lipaudit convert`."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Source", "Targets"]

Source = Annotated[str, typer.Argument(metavar="REPORT", help="A JSON report, or - for stdin.")]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="Where to, and as what: report.sarif, report.md, report.xml (JUnit), report.csv (samples) or "
        "FORMAT=PATH; md=- is stdout. Repeatable.",
    ),
]

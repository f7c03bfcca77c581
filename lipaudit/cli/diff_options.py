"""The options of `lipaudit diff-model`."""

from __future__ import annotations

from typing import Annotated

import typer

from lipaudit.cli.numbers import real, whole

__all__ = ["ArchA", "ArchB", "AsJson", "First", "Most", "Samples", "Second", "Tolerance"]

First = Annotated[str, typer.Argument(metavar="A", help="The first model.")]
Second = Annotated[str, typer.Argument(metavar="B", help="The second model.")]
ArchA = Annotated[
    str | None,
    typer.Option("--arch", metavar="SOURCE:NAME", help="Who builds the network of files of weights."),
]
ArchB = Annotated[
    str | None,
    typer.Option("--arch-b", metavar="SOURCE:NAME", help="Who builds B's network, where it is another."),
]
Samples = Annotated[
    str, typer.Option("--dataset", "-d", metavar="D", help="Compare on these samples, too: as for an audit.")
]
Most = Annotated[
    int | None,
    typer.Option("--limit", parser=whole, metavar="N", help="Compare on the first N samples only."),
]
Tolerance = Annotated[
    float,
    typer.Option(
        "--tolerance",
        parser=real,
        metavar="T",
        help="Relative difference of outputs that still is the same.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON document instead of text.")]

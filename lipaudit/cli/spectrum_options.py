"""The options of `lipaudit spectrum`, beside those it shares with an audit."""

from __future__ import annotations

from typing import Annotated

import typer

from lipaudit.cli.numbers import whole

__all__ = ["AsJson", "Everything", "Layers", "Output", "Plot", "Quiet", "Top"]

Top = Annotated[
    int,
    typer.Option(
        "--top",
        parser=whole,
        metavar="K",
        help="Singular values per layer, the largest first (10; at most 1000).",
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layer", metavar="GLOB", help="Only layers whose names match; * is any text. Repeatable."),
]
Everything = Annotated[
    bool,
    typer.Option(
        "--all",
        help="Also the whole spectrum: of circular convolutions from their frequencies, of small layers from "
        "their matrix.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON document instead of the table.")]
Output = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="Also write the spectra: values.csv, spectra.svg or FORMAT=PATH (text, json, md, csv, svg); "
        "json=- is stdout. Repeatable.",
    ),
]
Plot = Annotated[
    list[str] | None,
    typer.Option("--plot", metavar="PATH", help="Draw the spectra, a panel per layer, as -o svg=PATH."),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only the last line on stdout, no progress on stderr.")
]

"""The options of `lipaudit clip`, beside those it shares with an audit."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["AsJson", "Biases", "Force", "How", "LayerNorm", "Layers", "Lipschitz", "Output", "Quiet"]

Lipschitz = Annotated[
    str | None,
    typer.Option("--lipschitz", metavar="C", help="The network's certified bound shall be at most C."),
]
LayerNorm = Annotated[
    str | None,
    typer.Option(
        "--layer-norm",
        metavar="C",
        help="Every linear layer's certified norm, each layer by itself, shall be C at most.",
    ),
]
How = Annotated[
    str,
    typer.Option(
        "--how",
        metavar="M",
        help="fastclip (the default: the nearest weights within the limit), rescaling (one factor per "
        "layer), spectral-rescaling (one per channel) or fft (frequency by frequency).",
    ),
]
Biases = Annotated[
    str,
    typer.Option(
        "--biases",
        metavar="M",
        help="fit (the default: to the smaller weights, on unlabelled samples of --dataset, or on noise; "
        "bounds do not depend on biases) or keep.",
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        metavar="GLOB",
        help="Speak of these layers only, by name as `lipaudit spectrum` shows it; * is any text. "
        "Repeatable.",
    ),
]
Output = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="Where the clipped model goes: clipped.onnx, clipped.safetensors, or FORMAT=PATH. "
        "Repeatable, once per format.",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace OUT if it exists; files that are read are never replaced.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON document instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the last line, no progress on stderr.")]

"""Every option of `lipaudit audit`: its names, its value, its help line.

`hidden` ones stand under `--help-all` only.  Values stay text here; `values` and `policy` give them meaning,
so that the message about a wrong one is ours.
"""

from __future__ import annotations

from typing import Annotated

import typer

from lipaudit.cli.numbers import whole

__all__ = [
    "AllLayers",
    "AllowGlobal",
    "Arch",
    "Color",
    "Crop",
    "DataDir",
    "DatasetName",
    "Device",
    "Eps",
    "InputShape",
    "Layout",
    "Limit",
    "Logits",
    "MaxLipschitz",
    "Mean",
    "Memory",
    "MethodName",
    "MinCertified",
    "Model",
    "NoAttack",
    "Offline",
    "Output",
    "Plot",
    "ProfileName",
    "Quiet",
    "Resize",
    "Scale",
    "Seed",
    "Std",
    "ThreatSpace",
    "TrustPickle",
    "Verbose",
]

_SHAPE_HELP = "One sample's shape, e.g. 1,28,28, where the model does not tell it."
_OUTPUT_HELP = (
    "Also write the report: report.html, report.json or FORMAT=PATH (text, json, html, md, sarif, junit, "
    "csv, svg); json=- is stdout. Repeatable."
)
_LIMIT_HELP = "Evaluate N samples only: the first ones, or a draw with --seed."
_CERTIFIED_HELP = "Fail unless this share of samples is certified, e.g. 36/255:0.6 or 0.5:60%. Repeatable."

Model = Annotated[str, typer.Argument(metavar="MODEL")]
DatasetName = Annotated[
    str,
    typer.Option(
        "--dataset",
        "-d",
        metavar="D",
        help="Samples to certify: cifar10, cifar100, mnist, fashion-mnist (:train for that split), "
        "imagefolder:DIR, npz:FILE or none.",
    ),
]
DataDir = Annotated[
    str | None,
    typer.Option("--data-dir", metavar="DIR", hidden=True, help="Where to look for data sets first."),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline", hidden=True, help="Never use the network: data sets found nowhere stay missing."
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(
        "--resize", metavar="N|H,W", hidden=True, help="Resize images of a folder: shorter side, or both."
    ),
]
Crop = Annotated[
    str | None,
    typer.Option("--crop", metavar="N|H,W", hidden=True, help="Keep the centre of them, after --resize."),
]
Limit = Annotated[int | None, typer.Option("--limit", parser=whole, metavar="N", help=_LIMIT_HELP)]
Seed = Annotated[
    int | None,
    typer.Option("--seed", parser=whole, metavar="N", hidden=True, help="Seed of the draw by --limit."),
]
Eps = Annotated[
    list[str] | None,
    typer.Option("--eps", metavar="E,E,…", help="l2 radii to report on, exact: 36/255,0.5. Repeatable."),
]
MaxLipschitz = Annotated[
    str | None,
    typer.Option("--max-lipschitz", metavar="L", help="Fail unless the network's bound is at most L."),
]
MinCertified = Annotated[
    list[str] | None, typer.Option("--min-certified", metavar="EPS:SHARE", help=_CERTIFIED_HELP)
]
Arch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        metavar="SOURCE:NAME",
        help="Who builds a checkpoint's network: file.py:make, pkg.mod:make, or with JSON arguments "
        "'file.py:make{\"width\": 64}'.",
    ),
]
AllowGlobal = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-global",
        metavar="NAME",
        hidden=True,
        help="Let a checkpoint's pickle make this class (package.module.Class). Repeatable; recorded.",
    ),
]
TrustPickle = Annotated[
    str | None,
    typer.Option(
        "--trust-pickle",
        metavar="sha256:…",
        hidden=True,
        help="Run whatever code the checkpoint of exactly this digest holds. Recorded.",
    ),
]
InputShape = Annotated[
    str | None, typer.Option("--input-shape", metavar="C,H,W", hidden=True, help=_SHAPE_HELP)
]
Logits = Annotated[
    str | None,
    typer.Option(
        "--logits",
        metavar="NAME",
        hidden=True,
        help="The output with the class scores, of several.",
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean", metavar="M,…", hidden=True, help="Subtracted from scaled pixels, one or per channel."
    ),
]
Std = Annotated[
    str | None,
    typer.Option("--std", metavar="S,…", hidden=True, help="Divides after --mean, one or per channel."),
]
Scale = Annotated[
    str | None,
    typer.Option("--scale", metavar="F", hidden=True, help="Factor of [0,1] pixels: 255 for 0…255 inputs."),
]
Layout = Annotated[
    str | None,
    typer.Option("--layout", metavar="L", hidden=True, help="Axes of the model's input: chw, hwc or flat."),
]
ThreatSpace = Annotated[
    str,
    typer.Option(
        "--threat-space",
        metavar="S",
        hidden=True,
        help="What perturbations are measured in: pixel, or input (after scale, mean and std).",
    ),
]
MethodName = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="[LAYER=]NAME",
        hidden=True,
        help="Bound linear maps by one method (of all layers, or of those whose names match LAYER, where "
        "* is any text): schur, reshape, two-way, four-way, dense, fft, embedding, "
        "low-resolution, supremum, gram, gram-circular, gram-zero, exact, patches, or auto, the best that "
        "--profile affords. Repeatable; the last that matches counts.",
    ),
]
ProfileName = Annotated[
    str,
    typer.Option(
        "--profile",
        metavar="P",
        help="How much time a tighter bound is worth: fast, balanced (the default) or tight.",
    ),
]
Memory = Annotated[
    str,
    typer.Option(
        "--memory",
        metavar="SIZE",
        hidden=True,
        help="What a spectral method's tensors may take at a time: 512MiB, 2GiB (the default).",
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="DEV", help="auto, cpu, cuda or cuda:N.")]
NoAttack = Annotated[
    bool,
    typer.Option("--no-attack", hidden=True, help="Do not attack the certificates (faster, less evidence)."),
]
Output = Annotated[list[str] | None, typer.Option("--output", "-o", metavar="OUT", help=_OUTPUT_HELP)]
Plot = Annotated[
    list[str] | None,
    typer.Option(
        "--plot",
        metavar="FILE.svg",
        hidden=True,
        help="Draw certified accuracy against radius, as -o svg=PATH does. Repeatable.",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only the verdict on stdout, no progress on stderr.")
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        metavar="",
        help="What each method proved and took; tracebacks. -vv: libraries' warnings and logs, too.",
    ),
]
Color = Annotated[
    str,
    typer.Option(
        "--color",
        metavar="WHEN",
        hidden=True,
        help="auto (on a terminal, unless NO_COLOR is set or TERM=dumb), always or never.",
    ),
]
AllLayers = Annotated[
    bool,
    typer.Option(
        "--all-layers", hidden=True, help="Show every layer of a long network, in the network's order."
    ),
]

"""Words of `lipaudit clip`."""

from __future__ import annotations

from functools import partial

from lipaudit.report.explain.entry import Entry

__all__ = ["REPAIRS"]

_term = partial(Entry, kind="term")
_CLIPPING = (
    "Boroojeny, Telgarsky, Sundaram (2024), Spectrum extraction and clipping for implicitly linear layers"
)

REPAIRS: tuple[Entry, ...] = (
    _term(
        name="clip",
        short="Make weights smaller until a bound is certified, and write the model that has it.",
        why="The exit code is 0 only if the file as written was audited and keeps the limit: one for the "
        "whole network (`--lipschitz`) or one for every linear layer (`--layer-norm`).",
        todo="`lipaudit clip model.onnx --lipschitz 100 --dataset mnist -o clipped.onnx`; a small bound by "
        "itself certifies nothing, so look at the radii.",
        reference=_CLIPPING,
        also=("clipped", "clipping", "repair"),
    ),
    _term(
        name="fastclip",
        short="Clipping to the nearest weights whose singular values keep within the limit.",
        why="The least change of the layer as a linear map, for any stride, padding and grouping; the "
        "default of `lipaudit clip`.",
        reference=_CLIPPING,
    ),
    _term(
        name="rescaling",
        short="Clipping by one factor for a whole layer.",
        why="With biases fitted to it a ReLU network stays what it was, times a factor: the bound shrinks, "
        "and no radius grows.",
    ),
    _term(
        name="spectral-rescaling",
        short="Clipping by one factor per channel, each from a bound of its own.",
        why="Cheap, and finer than one factor for all; it leaves directions within a channel as they are.",
    ),
    _term(
        name="left alone",
        short="A layer that `lipaudit clip` does not change, with the reason.",
        why="Its weights are shared, computed when the model runs, or normalised together with others; or it "
        "has none, as pooling and resizing. Where one of them exceeds `--layer-norm`, nothing is written.",
        todo="Name the layers to clip with `--layer`, or bound the whole network with `--lipschitz`.",
    ),
)

"""Words of `lipaudit clip`."""

from __future__ import annotations

from functools import partial

from lipaudit.report.explain.entry import Entry

__all__ = ["REPAIRS"]

_term = partial(Entry, kind="term")
_CLIPPING = (
    "Boroojeny, Telgarsky, Sundaram (2024), Spectrum extraction and clipping for implicitly linear layers"
)

_FOUR = (
    "Singla, Feizi (2021), Fantastic Four: differentiable and efficient bounds on singular values of "
    "convolution layers, ICLR"
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
    _term(
        name="not asked for",
        short="A layer whose name `--layer` does not match: it is neither clipped nor held to the limit.",
        why="Its norm is shown, and counts in the bound on the network.",
    ),
    _term(
        name="unchanged",
        short="A layer that keeps its weights, or a model that is written as it was, since it keeps the "
        "limit.",
        why="`lipaudit clip` makes nothing larger.",
    ),
    _term(
        name="bias fitted",
        short="A layer whose bias was moved to fit the smaller weights before and in it.",
        why="Biases enter no bound. An old one weighs too much beside smaller weights, and answers change; "
        "a fitted one makes the layer follow what it was, up to a factor.",
        todo="A data set other than the one you report on (`--dataset`) tells what to fit them to; "
        "`--biases keep` leaves them.",
        also=("fitted", "kept"),
    ),
    _term(
        name="regularizer",
        short="`lipaudit.regularizer(network, …)`: a term of the loss that keeps the product, or the sum, of "
        "the layers' bounds small.",
        why="A network whose constant nothing bounded in training can hardly be certified afterwards. It "
        "measures and has gradients; it proves nothing.",
        todo="`help(lipaudit.regularizer)`; README, Train with it. Audit what comes out.",
        reference=_FOUR,
        also=("penalty", "lipaudit.regularizer"),
    ),
    _term(
        name="SpectralClip",
        short="`lipaudit.SpectralClip(network, limit)`: in training, every so many steps, brings singular "
        "values above the limit down to it.",
        why="The search starts from the vectors of the last time. It measures and proves nothing.",
        todo="`help(lipaudit.SpectralClip)`; README, Train with it. Audit what comes out.",
        reference=_CLIPPING,
        also=("lipaudit.SpectralClip", "callback"),
    ),
)

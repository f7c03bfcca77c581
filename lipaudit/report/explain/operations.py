"""Operations: what a layer does, and where its constant comes from.

One entry per family of names; a layer that no rule bounds has the name of torch's own operation (`aten.…`).
The proofs stand beside the operations, in `ops` and `passes`.
"""

from __future__ import annotations

from functools import partial

from lipaudit.report.explain.entry import Entry

__all__ = ["OPERATIONS"]

_op = partial(Entry, kind="operation")
_AXES = ("1d", "2d", "3d")
_NORM = "Normalise by a constant (fixed statistics, or a factor per channel) where a small constant is meant."


_WITH_INDICES = tuple(f"max_pool{axes}_with_indices" for axes in _AXES)


def _per_axis(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}{axes}" for name in names for axes in _AXES)


_LINEAR: tuple[Entry, ...] = (
    _op(
        name="convolution",
        short="A sum over a window with the same weights at every place.",
        why="Its constant is the spectral norm of the whole map, which depends on the image's size, padding "
        "and stride; the kernel as one matrix has another norm. The column `method` tells which bound won.",
        also=_per_axis("conv", "conv_transpose"),
    ),
    _op(
        name="linear",
        short="A dense layer: a matrix times the input, plus a bias.",
        why="Its constant is the largest singular value of the matrix. The bias moves all outputs alike and "
        "does not count.",
        also=("dense layer", "addmm"),
    ),
    _op(
        name="matmul",
        short="A product with constant weights, along one axis or several, also as einsum or a cumulative "
        "sum.",
        why="It is a linear map: its constant is the norm of its matrix, which is a small one repeated. A "
        "product of two values that both depend on the input has no bound (LIP101).",
        also=("einsum", "cumsum", "mm", "bmm"),
    ),
    _op(
        name="batch_norm",
        short="Batch normalisation with its stored statistics: a factor and a shift per channel.",
        why="Its constant is the largest factor |γ|/√(variance + ε). It is merged into the layer before or "
        "behind it where it can be, so that it has no row of its own. With statistics of the batch there is "
        "no bound.",
        also=("native_batch_norm",),
    ),
    _op(
        name="affine",
        short="Each entry times a constant, plus a constant.",
        why="Its constant is the largest factor in absolute value; what is added does not count. A product "
        "of two values that both depend on the input has no bound (LIP101). `normalize` is the preprocessing "
        "with mean and std: a division by 0.25 alone counts 4.",
        also=("add constant", "mul constant", "div constant", "neg", "conjugate", "normalize", "mul", "div"),
    ),
    _op(
        name="add",
        short="A sum or difference of several live values, as where a residual block ends.",
        why="Gains of the branches add up: two branches of constant 1 give 2, if nothing better is proved "
        "for the block as a whole (see `structure`).",
        also=(
            "sub",
            "rsub",
        ),
    ),
    _op(
        name="mean",
        short="The mean over m entries, for example of every channel.",
        why="Its constant is 1/√m, attained where all entries move alike.",
    ),
    _op(
        name="sum",
        short="The sum over m entries of one value: constant √m. As a method: branches that are added.",
        why="As the method of `add` it says that the gains of all inputs add up.",
    ),
    _op(
        name="concat",
        short="Values put side by side, or stacked.",
        why="Squares of changes add up, since the parts keep cells of their own: two branches of constant 1 "
        "give √2. Max and min of the same pairs side by side are `max_min`, with constant 1.",
        also=("stack", "cat"),
    ),
    _op(
        name="fourier",
        short="A discrete Fourier transform of real or complex values, or the way back.",
        why="Its constant is known exactly, its scaling included. Together with a matrix per frequency it is "
        "bounded as a whole (see `frequency blocks`).",
        also=(
            *(f"fourier_{kind}{way}" for kind in ("full", "half", "real") for way in ("", "_inverse")),
            *(f"fft_{kind}fft{axes}" for kind in ("", "i", "r", "ir", "h", "ih") for axes in ("", "2", "n")),
        ),
    ),
    _op(
        name="average pooling",
        short="The mean over windows, also adaptive.",
        why="A linear map: its constant is the product of the norms of one small matrix per axis.",
        also=("avg_pool", *_per_axis("avg_pool", "adaptive_avg_pool")),
    ),
    _op(
        name="resizing",
        short="An image resized by linear or cubic interpolation.",
        why="A linear map: its constant is the product of the norms of one small matrix per axis. Enlarging "
        "repeats entries, so that it grows with the size.",
        also=(
            *("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d"),
            *("upsample_bilinear2d_aa", "upsample_bicubic2d_aa"),
        ),
    ),
)

_MOVES: tuple[Entry, ...] = (
    _op(
        name="moves",
        short="Entries, or a part of them, in another order or shape, none twice.",
        why="Constant 1: no change grows by being moved.",
        also=(
            *("permute", "flip", "roll", "arrange", "identity", "cast", "select", "slice"),
            *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
            "view",
            "flatten",
            "unflatten",
            "squeeze",
            "unsqueeze",
            "transpose",
            "t",
            "split",
            "split_with_sizes",
            "chunk",
            "unbind",
            "alias",
            "clone",
            "contiguous",
            "detach",
            "to",
            "type_as",
            "dropout",
            "alpha_dropout",
            "feature_dropout",
        ),
    ),
    _op(
        name="expand",
        short="Entries that may be copied: repeated, gathered by an index, or read by several windows.",
        why="Its constant is the root of how often one entry is copied at most.",
        also=(
            "repeat",
            "gather",
            "index",
            "unfold",
            "im2col",
            "upsample_nearest",
            "join",
            "index_select",
            *_per_axis("upsample_nearest"),
        ),
    ),
    _op(
        name="pad",
        short="A border of constants, or of copies of entries.",
        why="Constant 1 with zeros; a border that reflects or repeats copies entries, and counts the root of "
        "how often. In front of a convolution it becomes part of it.",
        also=("constant_pad_nd", *_per_axis("reflection_pad", "replication_pad")),
    ),
)

_SORTING: tuple[Entry, ...] = (
    _op(
        name="max_min",
        short="Max and min of pairs of entries, side by side: each pair sorted.",
        why="Constant 1, and no gradient is lost, which makes it the activation of 1-Lipschitz networks.",
        reference="Chernodub, Nowicki (2016), Norm-preserving orthogonal permutation linear unit activation "
        "functions, arXiv 1604.01682",
    ),
    _op(
        name="sort",
        short="Entries in order, or the k largest of them.",
        why="Constant 1: sorting two vectors brings them no further apart.",
        also=("topk", "rearrangement", "msort"),
    ),
    _op(
        name="half_planes",
        short="Pairs that are mapped linearly on either side of a line, as Householder activations are.",
        why="Its constant is the larger of the two maps'; where float32 lets the sides part by 1e-7, a note "
        "says so and the jump counts as rounding.",
        reference="Singla, Singla, Feizi (2022), Improved deterministic l2 robustness on CIFAR-10 and "
        "CIFAR-100, ICLR",
    ),
    _op(
        name="maximum",
        short="The larger or smaller of two live values, entry by entry.",
        why="Squares of changes add up: two values of constant 1 give √2.",
        also=("minimum", "max", "min"),
    ),
    _op(
        name="amax",
        short="The largest or smallest entry of a group.",
        why="Constant 1: it moves no further than the entry that moves most.",
        also=("amin",),
    ),
    _op(
        name="max pooling",
        short="The largest entry of each window, also adaptive.",
        why="Its constant is the root of how many windows an entry lies in (see `window overlap`): 1 where "
        "windows do not overlap.",
        also=("max_pool", *_per_axis("max_pool", "adaptive_max_pool"), *_WITH_INDICES),
    ),
    _op(
        name="vector_norm",
        short="The length of groups of entries.",
        why="Constant 1 for the l2 and the largest absolute value, √m for the sum of m absolute values.",
        also=("linalg_vector_norm",),
    ),
)

_SMOOTH: tuple[Entry, ...] = (
    _op(
        name="softmax",
        short="Scores turned into shares that sum to 1; or their logarithm, or the logarithm of the sum.",
        why="Constants 1/2, √m and 1 for m classes. At the network's end it is taken off, since it changes "
        "no answer.",
        reference="Gao, Pavel (2017), On the properties of the softmax function, arXiv 1704.00805",
        also=("log_softmax", "logsumexp"),
    ),
    _op(
        name="layer_norm",
        short="Entries of a sample less their mean, over their own standard deviation.",
        why="Its constant is max|γ|/√ε, finite and huge: near a constant input it magnifies by that. Few "
        "networks with it have a useful bound.",
        todo=_NORM,
        also=("group_norm", "instance_norm", "1/√eps"),
    ),
    _op(
        name="local_response_norm",
        short="Entries divided by a power of the mean square of those nearby.",
        why="Its derivative is bounded in closed form; the constant k in the denominator keeps it finite.",
        todo=_NORM,
        reference="Krizhevsky, Sutskever, Hinton (2012), ImageNet classification with deep convolutional "
        "neural networks, NeurIPS",
    ),
)

_ACTIVATIONS: tuple[Entry, ...] = (
    _op(
        name="relu",
        short="An activation that cuts off: its slopes are 0 and 1.",
        why="Constant 1. Slopes between 0 and 1 let the rules for parts (see `semidefinite`) prove more.",
        also=("relu6", "hardtanh", "threshold", "clamp", "softshrink", "clamp_min", "clamp_max"),
    ),
    _op(
        name="leaky_relu",
        short="An activation with one slope for positive and another one for negative entries.",
        why="Its constant is the larger of 1 and the other slope, also where that was learnt.",
        also=("prelu",),
    ),
    _op(
        name="elu",
        short="An activation that levels off exponentially for negative entries.",
        why="Its constant is the largest slope: 1 for ELU and CELU with their usual parameters, 1.7581 for "
        "SELU.",
        also=("celu", "selu"),
    ),
    _op(
        name="gelu",
        short="A smooth activation that dips below 0 before it rises.",
        why="Its constant is the largest slope, a little above 1: 1.13 for GELU, 1.1 for SiLU, 1.09 for "
        "Mish, 1.5 for hardswish.",
        also=("gelu_tanh", "silu", "mish", "hardswish"),
    ),
    _op(
        name="sigmoid",
        short="A smooth activation between two values.",
        why="Its constant is the slope in the middle: 1/4 for the sigmoid, 1/6 for hardsigmoid, 1 for tanh "
        "and arctan, 2/√π for erf.",
        also=("hardsigmoid", "tanh", "atan", "erf", "softsign"),
    ),
    _op(
        name="softplus",
        short="A smooth activation that grows without bound.",
        why="Its slope is never above 1. With one hidden layer of it, radii may rest on curvature too: see "
        "`lipaudit explain curvature`.",
        also=("logsigmoid", "asinh", "tanhshrink", "log_sigmoid"),
    ),
    _op(
        name="abs",
        short="The absolute value.",
        why="Constant 1. It folds space without shrinking it, as max_min does.",
    ),
    _op(
        name="sin",
        short="Sine or cosine of each entry.",
        why="Constant 1.",
        also=("cos",),
    ),
)

_UNKNOWN: tuple[Entry, ...] = (
    _op(
        name="aten",
        short="An operation of torch by its own name: in this use no rule bounds it, and the note says why.",
        why="Its layer is unbounded, and so is what lies behind it (LIP101): such a name is never taken for "
        "constant 1. `lipaudit explain mul` and its like tell how the operation is bounded where it can be.",
        todo="See `lipaudit explain LIP101`.",
    ),
)

OPERATIONS = (*_LINEAR, *_MOVES, *_SORTING, *_SMOOTH, *_ACTIVATIONS, *_UNKNOWN)

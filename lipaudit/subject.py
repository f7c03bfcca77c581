"""What an audit is about: the network as a function from the threat space to its scores.

sample ── arranged ──▶ (scale·x − mean)/std ──▶ model, without its head ──▶ logits
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from lipaudit.data import PIXEL_SPACE, Dataset
from lipaudit.data.layer_zero import entrance, prepend
from lipaudit.data.threat import arrange
from lipaudit.errors import Incomplete, InputRefused, UsageError
from lipaudit.graph.graph import LayerGraph
from lipaudit.load import LoadedModel, Preprocessing
from lipaudit.load.translate import translate
from lipaudit.load.verify import check_translation
from lipaudit.ops.arithmetic import Sum
from lipaudit.ops.contraction import Contraction
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.ops.shape import Relayout
from lipaudit.passes import simplify

__all__ = ["Subject", "check_scores", "make_subject", "stated_preprocessing"]

SIGNED_ENDS = (Linear, Contraction, Convolution, Sum)
"""A constant factor behind one of them has been folded; behind anything else the sign may be fixed."""
MIDDLES = {"sigmoid": 0.5, "logsigmoid": -math.log(2.0)}
"""What these heads make of a score of 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """The network from the threat space to logits.

    Attributes:
        graph: simplified, its preprocessing included; input (1, *sample).
        classes: how many scores it gives.
        space: what distances between its inputs are measured in.
        layout: how samples are arranged for the model; None if nothing was said and nothing had to be.
        entrance: from a sample to the model's own input.
    """

    graph: LayerGraph
    classes: int
    space: str
    layout: str | None
    entrance: LayerGraph

    @property
    def middle(self) -> float:
        """Where a single score of the model as given parts the classes."""
        return MIDDLES.get(self.graph.head, 0.0)


def make_subject(
    loaded: LoadedModel, preprocessing: Preprocessing, data: Dataset | None, target: torch.device
) -> Subject:
    """Translate the model, check the translation, and put the preprocessing before it.

    Args:
        loaded: the model.
        preprocessing: what lies between a sample and the model's input.
        data: the samples; None to stay in the model's own input.
        target: where to compute.

    Raises:
        InputRefused: model, preprocessing and data do not belong together.
        ConversionMismatch: the translation computes something else.
    """
    _check_units(preprocessing, data)
    raw = translate(loaded.program)
    check_translation(raw, loaded.program, loaded.files[0].name)
    sample = None if data is None else data.sample_shape
    stated = preprocessing.layout
    layout = stated if sample is None else arrange(sample, raw.input_shape[1:], stated)
    outside = entrance(raw.input_shape, preprocessing, sample, layout or "chw")
    graph = simplify(prepend(raw, preprocessing, sample, layout or "chw").to(target))
    if data is not None:
        space = data.space
    elif preprocessing.source == "default":
        space = "the model's own input"
    else:
        space = PIXEL_SPACE
    return Subject(graph, math.prod(graph.shape_of(graph.output)), space, layout, outside)


def stated_preprocessing(
    loaded: LoadedModel,
    mean: Sequence[Fraction | float] | None,
    std: Sequence[Fraction | float] | None,
    scale: Fraction | float | None,
    layout: str | None,
) -> Preprocessing:
    """The model's metadata, each part overridden by its flag.

    Raises:
        UsageError: the flags cannot be meant.
    """
    base = loaded.preprocessing or Preprocessing()
    if mean is None and std is None and scale is None and layout is None:
        return base
    try:
        return Preprocessing(
            layout=layout or base.layout,
            scale=base.scale if scale is None else Fraction(scale),
            mean=base.mean if mean is None else tuple(Fraction(m) for m in mean),
            std=base.std if std is None else tuple(Fraction(s) for s in std),
            input_shape=base.input_shape,
            source="flags and metadata" if base.source == "metadata" else "flags",
        )
    except ValueError as error:
        raise UsageError(f"preprocessing: {error}", hint="check --mean, --std and --scale") from error


def _check_units(preprocessing: Preprocessing, data: Dataset | None) -> None:
    """Metadata speak of pixels in [0,1].

    Raises:
        InputRefused: if the images are something else.
    """
    if data is not None and not data.in_pixels and preprocessing.source == "metadata":
        raise InputRefused(
            f"{data.name}: {data.range_text}, the model's metadata state preprocessing of pixels in [0,1]",
            hint="store pixels as uint8 or in [0,1]; if they are meant so, say --scale, --mean and --std",
        )


def check_scores(subject: Subject) -> None:
    """A single output must be a score of either sign; a probability would be read with the wrong threshold.

    Raises:
        Incomplete: if it ends in anything but a linear map.
    """
    node = subject.graph.node(subject.graph.output)
    while node is not None and isinstance(node.op, Relayout):
        node = subject.graph.node(node.inputs[0])
    if subject.classes == 1 and node is not None and not isinstance(node.op, SIGNED_ENDS):
        raise Incomplete(
            f"the single output ends in {node.op.name}: a score around 0, or a probability? nothing says",
            hint="export the model up to its logit, or audit it with --dataset none",
        )

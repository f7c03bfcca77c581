"""What an audit is about: the network as a function from the threat space to its scores.

sample ── arranged ──▶ (scale·x − mean)/std ──▶ model, without its head ──▶ logits
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

import torch

from lipaudit.data import PIXEL_SPACE, Dataset, check_labels
from lipaudit.data.conventions import Assumption, Question, settle
from lipaudit.data.layer_zero import entrance, prepend
from lipaudit.data.threat import arrange, layouts_for
from lipaudit.errors import Incomplete, InputRefused, UsageError
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Node
from lipaudit.load import LoadedModel, Preprocessing
from lipaudit.load.translate import translate
from lipaudit.load.verify import check_translation
from lipaudit.ops.arithmetic import Affine, Sum
from lipaudit.ops.contraction import Contraction
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.ops.shape import Relayout
from lipaudit.passes import simplify
from lipaudit.passes.peel_softmax import peel_softmax

__all__ = [
    "THREAT_SPACES",
    "Stated",
    "Subject",
    "Trying",
    "check_scores",
    "find_again",
    "make_subject",
    "own_normalization",
    "rebuild_subject",
]

SEED = 0
"""Of the samples on which conventions of preprocessing are tried."""
THREAT_SPACES = ("pixel", "input")
INPUT_SPACE = "the model's own input"
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
        preprocessing: what lies between the two.
        assumption: how it was found, where nobody stated it.
        samples: the data set as points of the threat space.
    """

    graph: LayerGraph
    classes: int
    space: str
    layout: str | None
    entrance: LayerGraph
    preprocessing: Preprocessing
    assumption: Assumption | None
    samples: Dataset | None

    @property
    def middle(self) -> float:
        """Where a single score of the model as given parts the classes."""
        return MIDDLES.get(self.graph.head, 0.0)


@dataclass(frozen=True, slots=True)
class Stated:
    """What flags and metadata say about the preprocessing.

    Attributes:
        preprocessing: what is said; the rest as it is by default.
        values_open: neither says anything about scale, mean and std.
    """

    preprocessing: Preprocessing
    values_open: bool

    @classmethod
    def by(
        cls,
        loaded: LoadedModel,
        mean: Sequence[Fraction | float] | None,
        std: Sequence[Fraction | float] | None,
        scale: Fraction | float | None,
        layout: str | None,
    ) -> Stated:
        """The model's metadata, each part overridden by its flag.

        Raises:
            UsageError: the flags cannot be meant.
        """
        base = loaded.preprocessing or Preprocessing()
        silent = mean is None and std is None and scale is None
        unsaid = base.source == "default" or base.silent
        if silent and layout is None:
            return cls(base, unsaid)
        try:
            stated = Preprocessing(
                layout=layout or base.layout,
                scale=base.scale if scale is None else Fraction(scale),
                mean=base.mean if mean is None else tuple(Fraction(m) for m in mean),
                std=base.std if std is None else tuple(Fraction(s) for s in std),
                input_shape=base.input_shape,
                source="flags and metadata" if base.source == "metadata" else "flags",
            )
        except ValueError as error:
            raise UsageError(f"preprocessing: {error}", hint="check --mean, --std and --scale") from error
        return cls(stated, silent and unsaid)


@dataclass(frozen=True, slots=True)
class Trying:
    """How to try conventions of preprocessing: samples of the data set, and who is told of the progress."""

    draw: Callable[[int], Dataset]
    advance: Callable[[int], None] = lambda _: None

    @classmethod
    def on(cls, load: Callable[..., Dataset | None], advance: Callable[[int], None] = lambda _: None) -> Self:
        """Draws from the whole data set, whatever an audit is limited to.

        Args:
            load: `load_dataset` but for `limit` and `seed`.
            advance: told of the progress.
        """

        def draw(count: int) -> Dataset:
            drawn = load(limit=count, seed=SEED)
            if drawn is None:
                raise UsageError("conventions of preprocessing can only be tried on a data set")
            return drawn

        return cls(draw, advance)


def _find_preprocessing(
    loaded: LoadedModel,
    raw: LayerGraph,
    stated: Stated,
    data: Dataset,
    trying: Trying,
) -> Assumption | None:
    """Try the usual conventions on samples; None where nothing is open, or nothing can be tried."""
    _check_units(stated.preprocessing, data)
    layouts = layouts_for(data.sample_shape, raw.input_shape[1:], stated.preprocessing.layout)
    values_open = stated.values_open and data.in_pixels
    classes = math.prod(raw.shape_of(raw.output))
    check_labels(data, max(classes, 2))
    if loaded.reference is None or (len(layouts) == 1 and not values_open):
        return None
    question = Question(
        stated=stated.preprocessing,
        layouts=layouts,
        model_shape=raw.input_shape,
        values=values_open,
        normalized=own_normalization(raw),
        middle=MIDDLES.get(peel_softmax(raw).head, 0.0),
        classes=classes,
    )
    return settle(loaded.reference, question, trying.draw, trying.advance)


def find_again(loaded: LoadedModel, stated: Stated, data: Dataset, trying: Trying) -> Assumption | None:
    """What `make_subject` would assume about the preprocessing; None where nothing is open.

    Raises:
        LipauditError: as `make_subject`.
    """
    return _find_preprocessing(loaded, translate(loaded.program), stated, data, trying)


def own_normalization(raw: LayerGraph) -> bool:
    """Whether the graph subtracts a constant from its input before anything else, also slice by slice."""
    return _is_shifted(raw, INPUT)


def _is_shifted(raw: LayerGraph, value: str) -> bool:
    readers = [node for node in raw if value in node.inputs]
    return bool(readers) and raw.output != value and all(_shifts(raw, node) for node in readers)


def _shifts(raw: LayerGraph, node: Node) -> bool:
    if isinstance(node.op, Affine) and bool(node.op.shift.any()):
        return True
    return isinstance(node.op, Relayout | Affine) and _is_shifted(raw, node.name)


def _refuse_twice(raw: LayerGraph, p: Preprocessing, name: str) -> None:
    if not (any(p.mean) or any(s != 1 for s in p.std)) or not own_normalization(raw):
        return
    message = f"{name} subtracts a mean from its input itself, and is told to be normalised once more"
    if "flags" in p.source:
        raise UsageError(message, hint="leave out --mean and --std; --scale 255 states a range of 0…255")
    raise InputRefused(message, hint="correct the model's metadata: its mean and std belong to the graph")


def make_subject(
    loaded: LoadedModel,
    stated: Stated,
    data: Dataset | None,
    trying: Trying,
    target: torch.device,
    threat_space: str = "pixel",
) -> Subject:
    """Translate the model, settle its preprocessing, put that before it, and simplify both.

    Args:
        loaded: the model.
        stated: what is known about its preprocessing; what is open is tried out on samples.
        data: the samples; None to stay in the model's own input.
        trying: how to try.
        target: where to compute.
        threat_space: one of `THREAT_SPACES`: perturbations of pixels, or of the model's input behind its
            preprocessing.

    Raises:
        ConversionMismatch: the translation computes something else.
        UsageError, InputRefused: the graph normalises already, and is told to be normalised again.
        InputRefused: model, preprocessing and data do not belong together.
        Incomplete: conventions that mean different things answer equally well.
    """
    raw = _translated(loaded, stated.preprocessing)
    assumption = None if data is None else _find_preprocessing(loaded, raw, stated, data, trying)
    used = stated.preprocessing if assumption is None else assumption.preprocessing
    sample = None if data is None else data.sample_shape
    found = _joined(raw, used, sample, data, target, threat_space)
    return replace(found, assumption=assumption)


def rebuild_subject(
    loaded: LoadedModel,
    used: Preprocessing,
    sample: tuple[int, ...] | None,
    data: Dataset | None,
    target: torch.device,
    threat_space: str,
) -> Subject:
    """The subject of an audit that is over: nothing is tried or assumed.

    Args:
        loaded: the model.
        used: its preprocessing, all of it stated.
        sample: shape of one sample of the data set; None if there was none.
        data: the samples, if they are at hand.
        target: where to compute.
        threat_space: one of `THREAT_SPACES`.

    Raises:
        LipauditError: as `make_subject`.
    """
    return _joined(_translated(loaded, used), used, sample, data, target, threat_space)


def _translated(loaded: LoadedModel, preprocessing: Preprocessing) -> LayerGraph:
    raw = translate(loaded.program, loaded.titles)
    check_translation(raw, loaded.program, loaded.files[0].name)
    _refuse_twice(raw, preprocessing, loaded.files[0].name)
    return raw


def _joined(
    raw: LayerGraph,
    used: Preprocessing,
    sample: tuple[int, ...] | None,
    data: Dataset | None,
    target: torch.device,
    threat_space: str,
) -> Subject:
    """The model behind its preprocessing."""
    layout = used.layout if sample is None else arrange(sample, raw.input_shape[1:], used.layout)
    outside = entrance(raw.input_shape, used, sample, layout or "chw")
    classes = math.prod(raw.shape_of(raw.output))
    if threat_space == "input":
        inside = LayerGraph(raw.input_shape, (), INPUT)
        graph, space, samples = simplify(raw.to(target)), INPUT_SPACE, _behind(outside, data)
        return Subject(graph, classes, space, layout, inside, used, None, samples)
    graph = simplify(prepend(raw, used, sample, layout or "chw").to(target))
    unstated = INPUT_SPACE if used.source == "default" else PIXEL_SPACE
    space = unstated if data is None else data.space
    return Subject(graph, classes, space, layout, outside, used, None, data)


def _behind(outside: LayerGraph, data: Dataset | None) -> Dataset | None:
    """The data set as the model receives it."""
    if data is None:
        return None
    shape = outside.shape_of(outside.output)[1:]
    return replace(data, view=lambda x: outside.run(x).reshape(-1, *shape), space=INPUT_SPACE)


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

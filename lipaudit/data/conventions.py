"""Which preprocessing does a network expect?  Tried out where flags, metadata and the graph are silent.

Every usual convention (layout, range, published means and standard deviations) is tried on a few hundred
samples with the original program, and the accuracies are compared in pairs: with b samples that only the
first answers correctly and c that only the second does, the first is better by

    z = (b − c) / √(b + c)        standard errors   (McNemar 1947, Psychometrika 12)

Pixels in [0, 1] as they are win unless something else is better by more than three standard errors.  What is
found is an assumption, and is reported as one; what cannot be told apart is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipaudit.data.dataset import Dataset
from lipaudit.data.layer_zero import entrance
from lipaudit.data.plausible import is_near_chance
from lipaudit.errors import Incomplete
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Shape
from lipaudit.load.preprocessing import Preprocessing

__all__ = [
    "CONVENTIONS",
    "STATED",
    "Assumption",
    "Convention",
    "Program",
    "Question",
    "answers",
    "fitting",
    "settle",
]

Program = Callable[["np.ndarray[Any, Any]"], "np.ndarray[Any, Any]"]
"""n inputs (leading n) to n rows of scores."""

STAGES = (64, 512, 4096)
"""Samples: to drop what is hopeless, to decide, and to decide between what is close."""
LARGE = 8192
"""Entries of a sample from which the last stage is left out."""
SURE, BETTER, CLOSE = 4.0, 3.0, 2.0
"""Standard errors: to drop a convention early, to beat pixels as they are, to be told apart at all."""
ALIKE = 1.5
"""Conventions whose factors differ by less are variants of one: the better is taken, and said so."""
CHUNK = 64
STATED = "as stated,"
"""In place of a convention's name where only the layout is tried."""


@dataclass(frozen=True, slots=True)
class Convention:
    """One usual way to feed pixels x of [0, 1]: (scale·x − mean)/std.

    Attributes:
        name: for people.
        scale, mean, std: as in `Preprocessing`.
        data: data sets it is usual for; () is any.
    """

    name: str
    scale: Fraction = Fraction(1)
    mean: tuple[Fraction, ...] = ()
    std: tuple[Fraction, ...] = ()
    data: tuple[str, ...] = ()


def _exact(*texts: str) -> tuple[Fraction, ...]:
    return tuple(map(Fraction, texts))


AS_THEY_ARE = Convention("[0,1]")
CONVENTIONS = (
    AS_THEY_ARE,
    Convention("0…255", scale=Fraction(255)),
    Convention("[-1,1]", mean=_exact("0.5"), std=_exact("0.5")),
    # The mean and standard deviation over all pixels of the training images.
    Convention("MNIST mean and std", Fraction(1), _exact("0.1307"), _exact("0.3081"), ("mnist", "npz")),
    Convention(
        "Fashion-MNIST mean and std",
        Fraction(1),
        _exact("0.2860"),
        _exact("0.3530"),
        ("fashion-mnist", "npz"),
    ),
    Convention(
        "CIFAR-10 mean and std",
        Fraction(1),
        _exact("0.4914", "0.4822", "0.4465"),
        _exact("0.2470", "0.2435", "0.2616"),
        ("cifar10", "cifar100", "npz"),
    ),
    # Widely copied: the mean over images of each image's standard deviation.
    Convention(
        "CIFAR-10 mean, std per image",
        Fraction(1),
        _exact("0.4914", "0.4822", "0.4465"),
        _exact("0.2023", "0.1994", "0.2010"),
        ("cifar10", "cifar100", "npz"),
    ),
    Convention(
        "CIFAR-100 mean and std",
        Fraction(1),
        _exact("0.5071", "0.4865", "0.4409"),
        _exact("0.2673", "0.2564", "0.2762"),
        ("cifar100", "npz"),
    ),
    Convention(
        "ImageNet mean and std",
        Fraction(1),
        _exact("0.485", "0.456", "0.406"),
        _exact("0.229", "0.224", "0.225"),
    ),
)


@dataclass(frozen=True, slots=True)
class Assumption:
    """What was found.

    Attributes:
        preprocessing: to be used; its source is "assumed".
        name: of the convention.
        correct, samples: how many of how many samples it answers correctly.
        runner_up: the next best, None if nothing else was possible.
        runner_up_correct, runner_up_samples: as above; fewer samples where it was dropped early.
        clear: everything else is worse by more than three standard errors.
        plausible: the accuracy is better than chance.
    """

    preprocessing: Preprocessing
    name: str
    correct: int
    samples: int
    runner_up: str | None
    runner_up_correct: int
    runner_up_samples: int
    clear: bool
    plausible: bool

    @property
    def flags(self) -> str:
        """The options that say the same."""
        return _flags(self.preprocessing)


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    name: str
    preprocessing: Preprocessing
    hits: Tensor

    @property
    def as_they_are(self) -> bool:
        return self.name == AS_THEY_ARE.name

    @property
    def factor(self) -> float:
        """How much contrast is stretched."""
        p = self.preprocessing
        return abs(float(p.scale)) / float(np.mean([abs(float(s)) for s in p.std or (1,)]))

    @property
    def label(self) -> str:
        return f"{self.name} {self.preprocessing.layout}"


@dataclass(frozen=True, slots=True)
class Question:
    """What is open.

    Attributes:
        stated: what flags and metadata say already.
        layouts: that fit model and data; with more than one, accuracy decides.
        model_shape: of the model's input, leading 1 included.
        values: whether scale, mean and std are open, too.
        normalized: the graph subtracts a mean itself, so only the pixels' range is open.
        middle: of a single score.
        classes: number of scores.
    """

    stated: Preprocessing
    layouts: Sequence[str]
    model_shape: Shape
    values: bool
    normalized: bool
    middle: float
    classes: int


def answers(program: Program, outside: LayerGraph, data: Dataset, start: int, stop: int) -> Tensor:
    """The original program's scores on samples `start` to `stop`, (n, classes) float64.

    Args:
        program: n inputs to n rows of scores.
        outside: from a sample to the program's input.
        data: the samples.
        start: first sample.
        stop: behind the last.
    """
    inputs = outside.run(data.pixels(start, stop).to(outside.device)).cpu()
    shape = outside.shape_of(outside.output)[1:]
    scores = torch.from_numpy(np.asarray(program(inputs.reshape(-1, *shape).numpy()))).double()
    return scores.reshape(len(inputs), -1)


def settle(
    program: Program,
    question: Question,
    draw: Callable[[int], Dataset],
    advance: Callable[[int], None] = lambda _: None,
) -> Assumption:
    """Find the preprocessing under which the program answers best.

    Args:
        program: the model as given.
        question: what is open.
        draw: that many samples of the data set, the same ones among them when asked for more.
        advance: called with the number of samples answered.

    Raises:
        Incomplete: conventions that mean different things answer equally well.
    """
    data = draw(STAGES[0])
    trials = [_Trial(name, p, torch.zeros(0, dtype=torch.bool)) for name, p in _candidates(question, data)]
    dropped: list[_Trial] = []
    stages = STAGES if math.prod(data.sample_shape) < LARGE else STAGES[:-1]
    for size in stages:
        data = data if size == STAGES[0] else draw(size)
        trials = [replace(t, hits=_hits(program, t, question, data, advance)) for t in trials]
        best = max(trials, key=lambda t: int(t.hits.sum()))
        dropped += [t for t in trials if _z(best, t) > SURE]
        trials = [t for t in trials if _z(best, t) <= SURE]
        decided = size > STAGES[0] and len(trials) == 1
        hopeless = size > STAGES[0] and is_near_chance(best.hits, data.labels, question.classes)
        if len(data) < size or decided or hopeless:
            break
    plausible = not is_near_chance(best.hits, data.labels, question.classes)
    return _decide(trials, dropped, plausible=plausible)


def _candidates(question: Question, data: Dataset) -> list[tuple[str, Preprocessing]]:
    """Every convention that fits, in every layout that fits; the plain one first."""
    stated = question.stated
    if not question.values:
        return [(STATED, replace(stated, layout=layout)) for layout in question.layouts]
    usual = [c for c in fitting(data.name, data.sample_shape) if not (question.normalized and c.mean)]
    return [
        (c.name, replace(stated, layout=layout, scale=c.scale, mean=c.mean, std=c.std, source="assumed"))
        for c in usual
        for layout in question.layouts
    ]


def fitting(data: str, sample: Shape) -> list[Convention]:
    """The conventions that are usual for a data set.

    Args:
        data: its name, such as "mnist:test".
        sample: shape of one sample, (C, H, W) or (D,).
    """
    kind, channels = data.partition(":")[0], sample[0] if len(sample) == 3 else 1
    return [
        c
        for c in CONVENTIONS
        if (not c.data or kind in c.data or kind not in _KNOWN) and len(c.mean) in (0, 1, channels)
    ]


_KNOWN = {name for convention in CONVENTIONS for name in convention.data}


def _hits(
    program: Program, trial: _Trial, question: Question, data: Dataset, advance: Callable[[int], None]
) -> Tensor:
    """Which samples are answered correctly."""
    layout = trial.preprocessing.layout or "chw"
    outside = entrance(question.model_shape, trial.preprocessing, data.sample_shape, layout)
    found = []
    for start in range(0, len(data), CHUNK):
        scores = answers(program, outside, data, start, start + CHUNK)
        labels = data.labels[start : start + CHUNK]
        single = scores.shape[1] == 1
        predicted = (scores[:, 0] > question.middle).long() if single else scores.argmax(1)
        found.append((predicted == labels) & scores.isfinite().all(1))
        advance(len(labels))
    return torch.cat(found)


def _z(one: _Trial, other: _Trial) -> float:
    """By how many standard errors the first is better."""
    only_one = int((one.hits & ~other.hits).sum())
    only_other = int((other.hits & ~one.hits).sum())
    return (only_one - only_other) / math.sqrt(max(1, only_one + only_other))


def _decide(trials: list[_Trial], dropped: list[_Trial], *, plausible: bool) -> Assumption:
    ranked = sorted(trials, key=lambda t: -int(t.hits.sum()))  # stable: the plain one first among equals
    plain = next((t for t in ranked if t.as_they_are), None)
    chosen = plain if plain is not None and _z(ranked[0], plain) <= BETTER else ranked[0]
    others = [t for t in ranked if t is not chosen]
    rivals = [t for t in others if _z(chosen, t) < CLOSE and _means_otherwise(chosen, t)]
    if plausible and rivals:
        raise _ambiguous(chosen, rivals[0])
    others += sorted(dropped, key=lambda t: -float(t.hits.double().mean()))
    second = others[0] if others else None
    return Assumption(
        preprocessing=chosen.preprocessing,
        name=chosen.label,
        correct=int(chosen.hits.sum()),
        samples=len(chosen.hits),
        runner_up=None if second is None else second.label,
        runner_up_correct=0 if second is None else int(second.hits.sum()),
        runner_up_samples=0 if second is None else len(second.hits),
        clear=all(_z(chosen, t) > BETTER for t in ranked if t is not chosen),
        plausible=plausible,
    )


def _means_otherwise(chosen: _Trial, other: _Trial) -> bool:
    """Whether a mix-up would be more than a choice between variants of one convention."""
    if chosen.preprocessing.layout != other.preprocessing.layout:
        return True
    low, high = sorted((chosen.factor, other.factor))
    return not chosen.as_they_are and high > ALIKE * low


def _ambiguous(chosen: _Trial, rival: _Trial) -> Incomplete:
    counts = [f"{t.label} ({int(t.hits.sum())}/{len(t.hits)} correct)" for t in (chosen, rival)]
    return Incomplete(
        f"the preprocessing cannot be told: {counts[0]} and {counts[1]} answer equally well",
        hint=f"say which it is: {_flags(chosen.preprocessing)}, or {_flags(rival.preprocessing)}",
    )


def _flags(p: Preprocessing) -> str:
    """The options that state a preprocessing."""
    parts = [f"--scale {p.scale}"] if p.scale != 1 or not (p.mean or p.std) else []
    parts += [f"--mean {','.join(f'{float(m):g}' for m in p.mean)}"] if p.mean else []
    parts += [f"--std {','.join(f'{float(s):g}' for s in p.std)}"] if p.std else []
    parts += [f"--layout {p.layout}"] if p.layout else []
    return " ".join(parts)

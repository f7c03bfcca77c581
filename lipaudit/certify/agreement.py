"""Does the program we were given answer as the graph we analysed does, on every sample?

Probes compare two programs at a few inputs; samples may lie where those do not reach (pixels of 0…255, say).
So each prediction is held against the original program's output: the class we predict must have its largest
score there, up to float32 rounding.  A final softmax or sigmoid keeps the order, so it does not matter that
ours ends before it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lipaudit.certify.dataset import Certification
from lipaudit.data import Dataset
from lipaudit.data.conventions import Program, answers
from lipaudit.errors import ConversionMismatch
from lipaudit.graph.graph import LayerGraph

__all__ = ["check_answers"]

ROUNDING = 1e-3
"""How far float32 may carry two scores apart, relative to the range of all scores."""
CHUNK = 64


def check_answers(
    run: Certification,
    data: Dataset,
    entrance: LayerGraph,
    program: Program | None,
    middle: float = 0.0,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Compare every prediction with the original program.

    Args:
        run: the predictions.
        data: the samples.
        entrance: from a sample to the program's input.
        program: n inputs (leading n) to n rows of scores; None if there is none to ask.
        middle: with a single score, class 1 lies above it.
        advance: called with the number of samples compared.

    Raises:
        ConversionMismatch: naming the first sample that is answered differently.
    """
    if program is None:
        return
    for start in range(0, len(data), CHUNK):
        rows = answers(program, entrance, data, start, start + CHUNK)
        for offset, scores in enumerate(rows):
            if not bool(run.radii.finite[start + offset]):
                continue  # reported as a finding of its own
            answered = int(run.radii.predicted[start + offset])
            if not _agrees(scores, answered, middle):
                raise ConversionMismatch(
                    f"sample {int(run.indices[start + offset])}: the analysed graph answers class "
                    f"{answered}, the original program {_answer(scores, middle)}",
                    hint="the model was converted to another function: please report it",
                )
        advance(len(rows))


def _agrees(scores: Tensor, answered: int, middle: float) -> bool:
    if not bool(torch.isfinite(scores).all()):
        return False
    if len(scores) == 1:
        above = float(scores[0]) - middle
        return (above > 0) == bool(answered) or abs(above) <= ROUNDING
    spread = float(scores.max() - scores.min())
    return float(scores.max() - scores[answered]) <= ROUNDING * spread


def _answer(scores: Tensor, middle: float) -> str:
    if not bool(torch.isfinite(scores).all()):
        return "gives NaN or infinity"
    return f"class {int(scores[0] > middle) if len(scores) == 1 else int(scores.argmax())}"

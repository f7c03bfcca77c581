"""What a comparison of two models found."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Difference", "LayerGap", "OutputGap", "Side", "TensorGap"]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the models.

    Args:
        name: base name of its file.
        format: "onnx", "checkpoint", ….
        input_shape: of one sample, leading 1 included.
        weights_sha256: over its stored weights.
        layers: how many operations it has once simplified.
    """

    name: str
    format: str
    input_shape: tuple[int, ...]
    weights_sha256: str
    layers: int


@dataclass(frozen=True, slots=True)
class OutputGap:
    """How far apart the outputs are on inputs of one kind.

    Args:
        inputs: "uniform", "normal times 1e2", …, or the data set's name.
        programs: "as given" (each in its own runtime) or "in float64".
        count: how many inputs.
        relative: the largest ‖a − b‖ / max(‖a‖, ‖b‖, tiny); infinite where only one is finite.
        tolerance: what is still called the same.
        other_class: how many inputs get another class.
    """

    inputs: str
    programs: str
    count: int
    relative: float
    tolerance: float
    other_class: int = 0

    @property
    def differs(self) -> bool:
        """Whether it is beyond tolerance."""
        return not self.relative <= self.tolerance


@dataclass(frozen=True, slots=True)
class LayerGap:
    """Two layers that stand in the same place and are not the same.

    Args:
        a: name in the first model, "" if it has no such layer.
        b: name in the second.
        op: what they are.
        what: how they differ.
    """

    a: str
    b: str
    op: str
    what: str


@dataclass(frozen=True, slots=True)
class TensorGap:
    """A stored tensor that the other model has not, or holds differently.

    Args:
        a: name in the first model, "" if it has none.
        b: name in the second.
        shape: of the tensor.
        largest: the largest difference of two entries; None where there is no counterpart.
        entries: how many differ.
    """

    a: str
    b: str
    shape: tuple[int, ...]
    largest: float | None
    entries: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The outcome.

    Args:
        same: nothing that was tried or compared tells the models apart.
        reasons: why they are different, the most telling first; empty if `same`.
        sides: both models.
        outputs: the gaps on each kind of input.
        layers: the layers that differ, in the order of the first model.
        unmatched: layers without a counterpart, per model: what is in them was judged by outputs alone.
        tensors: stored tensors that differ.
        notes: what a reader must know.
    """

    same: bool
    reasons: tuple[str, ...]
    sides: tuple[Side, Side]
    outputs: tuple[OutputGap, ...]
    layers: tuple[LayerGap, ...]
    unmatched: tuple[int, int]
    tensors: tuple[TensorGap, ...]
    notes: tuple[str, ...]

"""Do two files hold the same function?  A checkpoint and the ONNX file that was exported from it, say.

    both files ── load ──▶ original programs ───────────▶ outputs on probes and on samples
                     └──── translate, simplify ─────────▶ outputs in float64, layers one by one, tensors

"Same" is not proved: it says that no input tried and no layer compared tells the models apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lipaudit.data import Dataset
from lipaudit.data.layer_zero import entrance
from lipaudit.data.threat import arrange
from lipaudit.difference.layers import align, layer_gaps, of_other_kinds, unmatched
from lipaudit.difference.outputs import (
    AS_GIVEN,
    IN_DOUBLE,
    Arranger,
    arrangement,
    gap,
    graph_program,
    probe_gaps,
    reference_program,
)
from lipaudit.difference.record import Difference, LayerGap, OutputGap, Side, TensorGap
from lipaudit.difference.weights import stored_tensors, tensor_gaps
from lipaudit.errors import UsageError
from lipaudit.graph.graph import LayerGraph
from lipaudit.load import LoadedModel, Preprocessing, load_model, needs_architecture
from lipaudit.load.translate import translate
from lipaudit.load.verify import probes
from lipaudit.passes import simplify

__all__ = ["TOLERANCE", "Difference", "LayerGap", "OutputGap", "Side", "TensorGap", "compare_models"]

TOLERANCE = 1e-4
"""Relative; what float32 rounding does to a network is a tenth of it."""
_LAYER = 0.1
"""Layers are compared in float64, so a tenth of the tolerance on outputs suffices for them."""


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    """A loaded model and its graph as translated and as simplified."""

    loaded: LoadedModel
    raw: LayerGraph
    graph: LayerGraph

    @property
    def side(self) -> Side:
        return Side(
            name=self.loaded.files[0].name,
            format=self.loaded.format,
            input_shape=self.loaded.input_shape,
            weights_sha256=self.loaded.weights_sha256,
            layers=len(self.graph.nodes),
        )


def compare_models(
    a: str | Path,
    b: str | Path,
    *,
    arch: str | None = None,
    arch_b: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    data: Dataset | None = None,
    tolerance: float = TOLERANCE,
) -> Difference:
    """Compare two model files.

    Args:
        a: path of any model that can be audited.
        b: the other.
        arch: builds the network of those that hold weights only.
        arch_b: builds the network of `b`, where it is another.
        input_shape: of one sample without batch, where a file does not tell it.
        data: also compare on these samples.
        tolerance: relative difference of outputs that is still called the same.

    Raises:
        UsageError: an option cannot be meant.
        InputUnavailable: a file is not there.
        InputRefused: a file is not acceptable, or the two cannot be compared.
    """
    if not 0 < tolerance < 1:
        raise UsageError(f"tolerance {tolerance} must lie between 0 and 1", hint="1e-4 is the default")
    notes: list[str] = []
    one, other = _loaded(a, b, arch, arch_b, input_shape, data)
    to_other = arrangement(one.loaded.input_shape, other.loaded.input_shape, notes)
    outputs = _probe(one, other, to_other, tolerance)
    outputs += _samples(one, other, to_other, data, tolerance, notes)
    places = align(one.graph, other.graph)
    layers = layer_gaps(
        (one.graph, other.graph),
        places,
        _values(one, other, to_other),
        _LAYER * tolerance,
        structure=any(o.differs for o in outputs),
    )
    alone = unmatched(places)
    tensors = tensor_gaps(*(stored_tensors(side.loaded.program, side.loaded.titles) for side in (one, other)))
    reasons = _reasons(outputs, layers, one.loaded.preprocessing, other.loaded.preprocessing)
    if any(alone) and not reasons:
        notes.append(
            f"{len(alone[0])} layers of the first and {len(alone[1])} of the second have no counterpart "
            f"({', '.join(n.name for n in (*alone[0], *alone[1])[:6])}): they were judged by outputs alone"
        )
    kinds = of_other_kinds(places)
    if kinds and not reasons:
        notes.append(
            f"layers of different kinds stand in one place ({', '.join(kinds[:4])}): they were compared as "
            "functions on random numbers up to a few thousand, and may differ farther out"
        )
    return Difference(
        same=not reasons,
        reasons=tuple(reasons),
        sides=(one.side, other.side),
        outputs=tuple(outputs),
        layers=tuple(layers),
        unmatched=(len(alone[0]), len(alone[1])),
        tensors=tuple(tensors),
        notes=(*notes, *_loading_notes(one, other)),
    )


def _loaded(
    a: str | Path,
    b: str | Path,
    arch: str | None,
    arch_b: str | None,
    input_shape: tuple[int, ...] | None,
    data: Dataset | None,
) -> tuple[_Model, _Model]:
    """Both models; the one that knows its input shape tells it to the other."""
    wanting = [needs_architecture(path) for path in (a, b)]
    if arch is not None and not any(wanting):
        raise UsageError("--arch: neither model is a file of weights only", hint="leave it out")
    if arch_b is not None and not wanting[1]:
        raise UsageError(f"--arch-b: {Path(b).name} is no file of weights only", hint="leave it out")
    archs = (arch if wanting[0] else None, (arch_b or arch) if wanting[1] else None)
    default = None if data is None else data.sample_shape
    first, second = (0, 1) if not wanting[0] else (1, 0)
    paths = (a, b)
    found: dict[int, LoadedModel] = {}
    for which in (first, second):
        known = found[first].input_shape[1:] if which == second else default
        found[which] = load_model(
            paths[which], arch=archs[which], input_shape=input_shape, default_shape=known
        )
    raw = [translate(found[which].program, found[which].titles) for which in (0, 1)]
    models = [_Model(found[which], raw[which], simplify(raw[which])) for which in (0, 1)]
    return models[0], models[1]


def _probe(one: _Model, other: _Model, to_other: Arranger, tolerance: float) -> list[OutputGap]:
    shape = one.loaded.input_shape
    inputs = {kind: torch.from_numpy(x) for kind, x in probes(shape, "float64").items()}
    theirs = reference_program(other.loaded)
    programs = {AS_GIVEN: (reference_program(one.loaded), lambda x: theirs(to_other(x)))}
    ours, theirs_double = graph_program(one.raw), graph_program(other.raw)
    if ours is not None and theirs_double is not None:
        programs[IN_DOUBLE] = (ours, lambda x: theirs_double(to_other(x)))
    return probe_gaps(programs, inputs, tolerance)


def _samples(
    one: _Model,
    other: _Model,
    to_other: Arranger,
    data: Dataset | None,
    tolerance: float,
    notes: list[str],
) -> list[OutputGap]:
    """The gap on real samples, preprocessed as the models say."""
    if data is None:
        return []
    stated = one.loaded.preprocessing or other.loaded.preprocessing
    if (one.loaded.preprocessing is None) != (other.loaded.preprocessing is None):
        notes.append("one model states its preprocessing; it was used for both")
    used = stated or Preprocessing()
    shape = one.loaded.input_shape
    enter = entrance(shape, used, data.sample_shape, arrange(data.sample_shape, shape[1:], used.layout))
    left, right = reference_program(one.loaded), reference_program(other.loaded)
    pairs = []
    for index in range(len(data)):
        x = enter.run(data.pixels(index, index + 1)).reshape(shape)
        pairs.append((left(x), right(to_other(x))))
    usual = max((float(p.norm()) for p, _ in pairs if bool(torch.isfinite(p).all())), default=0.0)
    gaps = [gap(p, q, usual) for p, q in pairs]
    others = sum(p.numel() > 1 and int(p.argmax()) != int(q.argmax()) for p, q in pairs)
    largest = max((g for g in gaps if g is not None), default=0.0)
    return [OutputGap(data.name, AS_GIVEN, len(pairs), largest, tolerance, others)]


_Values = tuple[list[Mapping[str, Tensor]], list[Mapping[str, Tensor]]]


def _values(one: _Model, other: _Model, to_other: Arranger) -> _Values:
    """Every intermediate value on two inputs."""
    inputs = probes(one.graph.input_shape, "float64")
    if graph_program(one.graph) is None or graph_program(other.graph) is None:
        return [], []
    chosen = [torch.from_numpy(inputs[kind]) for kind in ("uniform", "wide normal")]
    with torch.no_grad():
        return (
            [one.graph.values(x) for x in chosen],
            [other.graph.values(to_other(x)) for x in chosen],
        )


def _reasons(
    outputs: list[OutputGap],
    layers: list[LayerGap],
    ours: Preprocessing | None,
    theirs: Preprocessing | None,
) -> list[str]:
    found = []
    worst = max((o for o in outputs if o.differs), key=lambda o: o.relative, default=None)
    if worst is not None:
        size = "one is not finite" if math.isinf(worst.relative) else f"{worst.relative:.2g} (relative)"
        found.append(f"the outputs differ: {size} on {worst.inputs}, {worst.programs}")
    if layers:
        first = layers[0]
        hidden = "" if worst is not None else ", though no output that was tried shows it"
        found.append(f"layer {first.a or first.b} ({first.op}): {first.what}{hidden}")
    if ours is not None and theirs is not None and _stated(ours) != _stated(theirs):
        found.append("the models state different preprocessing")
    return found


def _stated(p: Preprocessing) -> tuple[object, ...]:
    return p.layout, p.scale, p.mean, p.std


def _loading_notes(one: _Model, other: _Model) -> tuple[str, ...]:
    return tuple(
        f"{model.loaded.files[0].name}: {note}" for model in (one, other) for note in model.loaded.notes
    )

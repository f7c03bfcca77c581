"""A graph is folded and run once where it can do no harm, before anything else trusts it.

Shapes are numbers in a file: a pad of 2^30, a Resize by 10^6, a Range to 10^12.  Integer division by zero
may end a process.  No list of operators is complete, so the graph runs here, in the reading process, on zeros
and on noise: memory, time and crashes are its keeper's affair.  What a rehearsal cannot show (it has one
input, an audit thousands) is judged from the graph: every tensor whose shape is known has a limited size, and
where an operand decides on sizes or divides integers, it must be a constant.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import onnx
from onnx import helper

from lipaudit.errors import InputRefused
from lipaudit.load.blame import first_line
from lipaudit.load.fold import Folded, fold, reference_session
from lipaudit.load.interface import with_input_shape

__all__ = ["check_sizes", "rehearse"]

_LIVE = 48 << 20
_CONSTANT = 150 << 20
_PER_BYTE = 4
"""Numbers in one tensor that depends on the input, in all constants together, and more of both per byte of a
file.  A network at 224×224 has 2^22 in its largest tensor, one at 768×768 2^25; VGG-19 has 137 << 20 weights.
A small file at these limits takes 2 GiB in all."""
_SMALL = 1 << 22
_GROWTH = 512
"""A tensor may have so many times the numbers of the input, if it has more than `_SMALL`.  VGG's largest has
21 times as many; enlarging images 4 by 4 at 64 channels makes 341."""
_BATCH = 8192
"""That no sample of a fixed batch sees another is checked for each; 65536 take a minute."""

_EVERY = tuple(range(16))
_SIZING: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("ConstantOfShape", "BlackmanWindow", "HammingWindow", "HannWindow"), (0,)),
    **dict.fromkeys(
        ("Expand", "Tile", "OneHot", "Pad", "CenterCropPad", "AffineGrid", "DFT", "Col2Im"), (1,)
    ),
    **dict.fromkeys(("Resize", "Upsample", "STFT"), _EVERY[1:]),
    **dict.fromkeys(("Range", "MelWeightMatrix"), _EVERY),
    "MaxUnpool": (2,),
}
"""Operands that decide on the size of an output."""
_DIVIDES = frozenset({"Div", "Mod"})
_FLOATING = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
)


def rehearse(model: onnx.ModelProto, reference: bytes, shape: tuple[int, ...], size: int, name: str) -> None:
    """Fold and run a graph.

    Args:
        model: functions inlined, stored values no inputs.
        reference: the graph that onnxruntime will run.
        shape: of the graph's input.
        size: bytes of the file and its data.
        name: of the file, for messages.

    Raises:
        InputRefused: it asks for too much, or onnxruntime does not load it.
    """
    extra = _PER_BYTE * size
    source = model.graph.input[0]
    _check_size(source.name, "", shape, _LIVE + extra)
    folded = fold(with_input_shape(model, shape))
    total = sum(value.size for value in folded.constants.values())
    if total > _CONSTANT + extra:
        raise InputRefused(
            f"{name} makes {total} constant numbers of {size} bytes", hint="store weights as they are"
        )
    grown = min(_LIVE, max(_SMALL, _GROWTH * math.prod(shape)))
    check_sizes(folded, grown + extra)
    _check_operands(folded)
    training = next((node for node in folded.nodes if _is_training(node)), None)
    if training is not None and shape[0] == 1:
        return  # onnxruntime may crash on it; conversion refuses it before anything runs, among all others
    if training is not None:
        raise InputRefused(
            f"{name}: {training.name or training.output[0]!r} normalises by the batch it sees",
            hint="export the model in eval mode",
        )
    output = _run(reference, source, shape, name)
    if len(shape) > 1 and output[:1] == shape[:1] and shape[0] > _BATCH:
        raise InputRefused(
            f"{name} has a fixed batch of {shape[0]}; up to {_BATCH} can be checked sample by sample",
            hint="export the model with batch size 1 or with a dynamic batch axis",
        )


def check_sizes(folded: Folded, limit: int) -> None:
    """Refuse a graph with a tensor of more than `limit` numbers.

    Raises:
        InputRefused: the first one.
    """
    for node in folded.nodes:
        for output in node.output:
            shape = folded.shape(output) if output else None
            if shape is not None:
                _check_size(output, node.op_type, shape, limit)


def _check_size(name: str, op: str, shape: tuple[int, ...], limit: int) -> None:
    if math.prod(shape) > limit:
        what = f"{op} {name!r}" if op else f"{name!r}"
        raise InputRefused(
            f"{what} has the shape {list(shape)}: more than {limit} numbers in one tensor",
            hint="a smaller --input-shape helps where the graph leaves its axes open",
        )


def _check_operands(folded: Folded) -> None:
    """Refuse sizes that depend on the input, and integer divisions that may not be defined."""
    for node in folded.nodes:
        title = f"{node.op_type} {node.name or node.output[0]!r}"
        for index in _SIZING.get(node.op_type, ()):
            if index < len(node.input) and node.input[index] and node.input[index] not in folded.constants:
                raise InputRefused(
                    f"{title}: the size of its output depends on the input",
                    hint="export the model with fixed sizes",
                )
        if node.op_type in _DIVIDES and not _is_float(folded, node):
            divisor = folded.constants.get(node.input[1])
            # The smallest integer divided by -1 overflows, which ends a process as zero does.
            if divisor is None or bool(np.isin(divisor, (0, -1)).any()):
                raise InputRefused(
                    f"{title} divides integers by what may be 0 or -1",
                    hint="such a graph can crash its runtime",
                )


def _is_training(node: onnx.NodeProto) -> bool:
    """Batch normalisation in training mode, without whose outputs onnxruntime 1.31 ends in a crash."""
    return node.op_type == "BatchNormalization" and any(
        attribute.name == "training_mode" and attribute.i for attribute in node.attribute
    )


def _is_float(folded: Folded, node: onnx.NodeProto) -> bool:
    for name in node.input:
        if name in folded.constants:
            return folded.constants[name].dtype.kind not in "iu"
        if name in folded.info:
            return folded.info[name].type.tensor_type.elem_type in _FLOATING
    return False


def _run(reference: bytes, source: onnx.ValueInfoProto, shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Run the graph on zeros and on noise; what comes out, and what onnxruntime refuses, is judged later.

    Returns:
        The shape of its output, () if there is none.

    Raises:
        InputRefused: onnxruntime does not load it.
    """
    dtype = helper.tensor_dtype_to_np_dtype(source.type.tensor_type.elem_type)
    feeds: list[Any] = [np.zeros(shape, dtype), np.random.default_rng(0).standard_normal(shape).astype(dtype)]
    found: tuple[int, ...] = ()
    try:
        session = reference_session(reference)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises many kinds
        raise InputRefused(
            f"onnxruntime cannot load {name}: {first_line(error)}",
            hint="a graph that its reference runtime refuses cannot be checked",
        ) from None
    # Any exception is a graph that survived: its caller meets the same one, and can say more about it.
    with contextlib.suppress(Exception):
        for feed in feeds:
            (output,) = session.run([session.get_outputs()[0].name], {source.name: feed})
            found = np.shape(output)
    return found

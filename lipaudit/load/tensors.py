"""Tensors as safetensors bytes and back: how weights leave the reading process, and the last look at them.

Names stand apart, in the file's order: safetensors sorts them, and wants them to be text.
"""

from __future__ import annotations

import json

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lipaudit.errors import InputRefused
from lipaudit.load.blame import first_line
from lipaudit.load.preprocessing import METADATA_KEY, Preprocessing, parse_metadata
from lipaudit.load.reading import Contents
from lipaudit.load.sniff import Kind

__all__ = ["State", "pack", "refuse_broken", "weights_of"]

State = dict[str, Tensor]
_PAIRS = " pairs"


def pack(state: State) -> bytes:
    """Tensors "0", "1", … in the order of `state`, as safetensors; those of complex128 as pairs.

    The format knows complex64 only.
    """
    packed = {}
    for i, value in enumerate(state.values()):
        double = value.dtype == torch.complex128
        plain = torch.view_as_real(value.resolve_conj()) if double else value
        packed[f"{i}{_PAIRS if double else ''}"] = plain.contiguous().clone()
    return bytes(save(packed))


def weights_of(reading: Contents, data: bytes, name: str) -> tuple[State, Preprocessing | None]:
    """The tensors that were read, and the preprocessing that a safetensors header states.

    Args:
        reading: of a checkpoint or a safetensors file.
        data: the file's bytes; a safetensors file is plain data, and read from them.
        name: base name, for messages.

    Raises:
        InputRefused: no tensors, or NaN or infinity in one.
    """
    if reading.kind is not Kind.SAFETENSORS:
        held = load(reading.tensors)
        state = {key: _unpacked(held, i) for i, key in enumerate(reading.names)}
        refuse_broken(state, name)
        return state, None
    try:
        state = load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise InputRefused(f"{name} is a damaged safetensors file: {first_line(error)}") from None
    refuse_broken(state, name)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    text = (header.get("__metadata__") or {}).get(METADATA_KEY)
    return state, None if text is None else parse_metadata(text)


def _unpacked(held: State, index: int) -> Tensor:
    pairs = held.get(f"{index}{_PAIRS}")
    return held[str(index)] if pairs is None else torch.view_as_complex(pairs)


def refuse_broken(state: State, name: str) -> None:
    """Refuse tensors that are not plain finite numbers.

    Raises:
        InputRefused: the first such tensor.
    """
    for key, value in state.items():
        if value.is_quantized or value.layout is not torch.strided:
            raise InputRefused(f"{name}: tensor {key!r} is quantized or sparse", hint="audit the float model")
        floating = value.is_floating_point() or value.is_complex()
        if floating and not bool(torch.isfinite(value if value.is_complex() else value.float()).all()):
            raise InputRefused(
                f"{name}: tensor {key!r} holds NaN or infinity",
                hint="the training diverged, or the file is damaged",
            )

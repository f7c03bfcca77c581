"""A `torch.save`d file → its tensors.  Runs in the reading process.

Three tiers, none of which falls back to the next: data only (`torch.load(weights_only=True)` after the pickle
was judged from its bytes); classes the user admits by name; a pickle whose full digest the user states, which
may run what it likes.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lipaudit.errors import InputRefused
from lipaudit.load.admit import resolve
from lipaudit.load.blame import first_line
from lipaudit.load.reading import DATA_ONLY, Request
from lipaudit.load.tensors import State, pack, refuse_broken

__all__ = ["Checkpoint", "read_checkpoint", "state_dict_of"]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
"""Keys under which training scripts store the state dict, most telling first."""
_EXPANDED = 4
"""Tied and expanded tensors make a state dict larger than its file; a view with stride 0 makes it endless."""
_RESAVE = "re-save the weights: safetensors.torch.save_file(model.state_dict(), …)"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What a checkpoint holds.

    Args:
        state: tensors by name.
        packed: the same as safetensors.
        notes: what was taken of the file.
        trust: what was run of it.
    """

    state: State
    packed: bytes
    notes: tuple[str, ...]
    trust: str


def read_checkpoint(data: bytes, met: tuple[str, ...], request: Request) -> Checkpoint:
    """Read a zip or legacy checkpoint on the user's terms.

    Args:
        data: the file, judged unless its digest is trusted.
        met: admitted globals that its pickles name.
        request: the terms.

    Raises:
        UnsafeInput: an admitted name stands for what is never admitted.
        InputRefused: damaged, no state dict, not plain tensors, or another digest.
    """
    notes: list[str] = []
    if request.trust_pickle is not None:
        content = _unpickle(data, request)
        trust = f"runs the pickle {request.trust_pickle} (--trust-pickle)"
    else:
        content = _load(data, request.name, met)
        trust = f"lets the pickle make {', '.join(met)} (--allow-global)" if met else DATA_ONLY
        idle = [name for name in request.allow_globals if name not in met]
        if idle:
            notes.append(f"{request.name} does not need {', '.join(idle)} (--allow-global)")
    state = state_dict_of(content, request.name, notes)
    refuse_endless(state, len(data), request.name)
    refuse_broken(state, request.name)
    return Checkpoint(state, pack(state), tuple(notes), trust)


def _load(data: bytes, name: str, admitted: tuple[str, ...]) -> Any:  # noqa: ANN401 - a checkpoint's content
    """Tensors, and objects of admitted classes."""
    found: list[Any] = [(resolve(global_), global_) for global_ in admitted]
    if "numpy.dtype" in admitted:  # the type of a dtype is a class of its own, which no pickle names
        found += [kind for kind in vars(np.dtypes).values() if isinstance(kind, type)]
    try:
        with torch.serialization.safe_globals(found) if found else nullcontext():
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        pickle.UnpicklingError,
        ValueError,
        LookupError,
        EOFError,
        TypeError,
        AttributeError,
        AssertionError,
        OverflowError,
    ) as error:
        raise InputRefused(
            f"{name} cannot be read as a checkpoint: {first_line(error)}", hint=_RESAVE
        ) from None


def _unpickle(data: bytes, request: Request) -> Any:  # noqa: ANN401 - a checkpoint's content
    """Run the pickle, if it is the one the user means."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if digest != request.trust_pickle:
        raise InputRefused(
            f"{request.name} is not the file of --trust-pickle: its digest is {digest}",
            hint="nothing was run; state the digest of a file you know, from where you know it",
        )
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the file's own code
        raise InputRefused(
            f"{request.name} cannot be unpickled: {type(error).__name__}: {first_line(error)}",
            hint="the packages it was saved with must be installed beside lipaudit",
        ) from None


def state_dict_of(content: Any, name: str, notes: list[str]) -> State:  # noqa: ANN401 - a checkpoint's content
    """Find the state dict in what a training script saved; say in `notes` what was taken.

    Raises:
        InputRefused: nothing in it looks like one.
    """
    where = ""
    for _ in range(6):
        if isinstance(content, nn.Module):
            notes.append(f"{name}{where} is a whole {type(content).__name__}; its state dict was taken")
            content = content.state_dict()
        if isinstance(content, (list, tuple)) and content and isinstance(content[0], Mapping):
            notes.append(f"{name}{where} is a list of {len(content)} stages; the first was taken")
            content, where = content[0], f"{where}[0]"
            continue
        if not isinstance(content, Mapping):
            break
        tensors = {str(key): value.detach() for key, value in content.items() if isinstance(value, Tensor)}
        wrapper = next(
            (key for key in _WRAPPERS if isinstance(content.get(key), (Mapping, list, tuple, nn.Module))),
            None,
        )
        if wrapper is None and tensors:
            ignored = [str(key) for key in content if str(key) not in tensors]
            if ignored:
                notes.append(
                    f"{name}{where}: entries that are no tensors were ignored: {', '.join(ignored[:5])}"
                )
            return tensors
        if wrapper is None:
            break
        rivals = [str(key) for key, value in content.items() if key != wrapper and _holds_tensors(value)]
        if rivals:
            notes.append(
                f"{name}{where}: {wrapper!r} was taken; {', '.join(map(repr, rivals[:5]))} hold tensors, too"
            )
        content, where = content[wrapper], f"{where}[{wrapper!r}]"
    kind = type(content).__name__
    keys = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else ""
    raise InputRefused(
        f"{name}{where} is a {kind}{f' with keys {keys}' if keys else ''}, not a state dict",
        hint="save torch.save(model.state_dict(), …) or a dict with a key 'state_dict'",
    )


def _holds_tensors(value: Any) -> bool:  # noqa: ANN401 - anything a training script saves
    return isinstance(value, nn.Module) or (
        isinstance(value, Mapping) and any(isinstance(inner, Tensor) for inner in value.values())
    )


def refuse_endless(state: State, size: int, name: str) -> None:
    """A view may claim any shape over a single number.

    Raises:
        InputRefused: the tensors claim far more numbers than the file holds.
    """
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    if claimed > _EXPANDED * size + (1 << 20):
        raise InputRefused(
            f"{name}: its tensors claim {claimed} bytes, the file has {size}",
            hint="expanded tensors are not supported: save contiguous ones",
        )

"""Weights into a module, strictly: every tensor of either side has its counterpart, and arrives unchanged.

A layer left at its random initialisation would be certified as if it were the model, so nothing is matched
approximately: names are only freed of prefixes that training left behind, and what does not fit is listed
with the likeliest reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from lipaudit.errors import InputRefused
from lipaudit.load.freeze import freeze, is_computed

__all__ = ["double", "fill"]

_MARKS = ("_orig_mod.",)
"""Left behind by torch.compile, anywhere in a name."""
_PREFIXES = ("module.", "model.", "net.", "network.", "backbone.", "encoder.", "student.")
"""Left behind by DataParallel or a trainer object; removed only if the architecture does not use them."""
_AVERAGES = ("ema", "swa", "avg", "average", "teacher", "momentum", "shadow")
"""Words in names of running averages of the weights."""
_SHOWN = 6

_State = Mapping[str, Tensor]


def fill(module: nn.Module, state: _State, name: str, notes: list[str], hint: str = "") -> nn.Module:
    """Load strictly, then freeze what the module recomputes from its parameters.

    Args:
        module: in eval mode, fully initialised.
        state: tensors by name.
        name: of the file, for messages.
        notes: gets what was done to names and types.
        hint: what to say where only sizes differ.

    Raises:
        InputRefused: a tensor is missing, left over, of another shape, or changed while it was loaded.
    """
    _refuse_extra_state(module, name)
    state = _stripped(state, module, name, notes)
    if _problems(module, state) and is_computed(module):
        # The normal file of a parametrised model holds the frozen weights.
        freeze(module, notes=[])
    state = _with_tied(module, state, name, notes)
    problems = _problems(module, state)
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        sizes_only = hint and all(" in the architecture" in problem for problem in problems)
        raise InputRefused(
            f"{name} does not fit the architecture: {shown}",
            hint=hint if sizes_only else "give the --arch that these weights were trained with",
        )
    _set_type(module, state, notes)
    module.load_state_dict({**module.state_dict(), **state}, strict=True)
    _check_arrived(module, state, name)
    freeze(module, notes)
    return module.requires_grad_(requires_grad=False)


def _set_type(module: nn.Module, state: _State, notes: list[str]) -> None:
    """Make room for what is stored, so that nothing is rounded."""
    own = module.state_dict()
    half = [k for k, v in state.items() if v.dtype in {torch.float16, torch.bfloat16} and k in own]
    if half:
        kind = str(state[half[0]].dtype).removeprefix("torch.")
        notes.append(f"{len(half)} tensors are stored as {kind}; they were widened, which is exact")
    if any(v.dtype in {torch.float64, torch.complex128} for k, v in state.items() if k in own):
        double(module)  # copying float64 weights into float32 parameters would round them
    elif any(v.dtype in {torch.float16, torch.bfloat16} for v in own.values()):
        module.float()


def double(module: nn.Module) -> None:
    """In place, complex tensors as well, which `nn.Module.double` leaves as they are."""
    module.double()
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_complex():
            tensor.data = tensor.data.to(torch.complex128)


def _check_arrived(module: nn.Module, state: _State, name: str) -> None:
    """An architecture may load as it likes; what it computes with must be what is stored."""
    own = module.state_dict()
    wide = torch.complex128
    changed = [key for key, value in state.items() if not torch.equal(own[key].to(wide), value.to(wide))]
    if changed:
        raise InputRefused(
            f"{name}: the architecture changes tensors while it loads them: {', '.join(changed[:_SHOWN])}",
            hint="two names of one tensor with different values, or a load_state_dict of its own: save the "
            "state dict of the loaded network",
        )


def _stripped(state: _State, module: nn.Module, name: str, notes: list[str]) -> _State:
    """Names as the architecture has them, where only prefixes stand between."""
    own = set(module.state_dict())
    for mark in _MARKS:
        if any(mark in key for key in state) and not any(mark in key for key in own):
            state = {key.replace(mark, ""): value for key, value in state.items()}
            notes.append(f"{mark!r} (torch.compile) was removed from tensor names")
    wanted = {key for key in own if not key.endswith("num_batches_tracked")}
    if not wanted or wanted <= state.keys():
        return state
    holding = _prefixes(state, wanted)
    if holding:
        _refuse_choice(state, holding, name)
        return _taken(state, holding, notes)
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state) and not any(key.startswith(prefix) for key in own):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
            notes.append(f"prefix {prefix!r} was removed from all tensor names")
    return state


def _refuse_extra_state(module: nn.Module, name: str) -> None:
    """What a module stores beside tensors is a matter between it and its pickle."""
    extra = [key for key, value in module.state_dict().items() if not isinstance(value, Tensor)]
    if extra:
        raise InputRefused(
            f"{name}: the architecture keeps state that is no tensor ({', '.join(extra[:_SHOWN])})",
            hint="leave get_extra_state out of the architecture; export the model to ONNX, or as a .pt2",
        )


def _refuse_choice(state: _State, holding: list[str], name: str) -> None:
    """Two different networks of one architecture: nothing says which one is meant."""
    names = [key.removeprefix(holding[0]) for key in state if key.startswith(holding[0])]
    for other in holding[1:]:
        equal = all(
            torch.equal(state[f"{holding[0]}{key}"], state[f"{other}{key}"])
            for key in names
            if f"{other}{key}" in state
        )
        if not equal and not _is_average(other):
            raise InputRefused(
                f"{name} holds this architecture under {holding[0]!r} and under {other!r}, with other "
                "weights",
                hint="save the state dict of the network that is meant alone",
            )


def _prefixes(state: _State, wanted: set[str]) -> list[str]:
    """Under which prefixes all wanted names stand: the weights themselves before running averages."""
    sample = min(wanted)
    found = [key.removesuffix(sample) for key in state if key.endswith(f".{sample}")]
    complete = [prefix for prefix in found if all(f"{prefix}{key}" in state for key in wanted)]
    return sorted(complete, key=lambda prefix: (_is_average(prefix), len(prefix), prefix))


def _is_average(prefix: str) -> bool:
    words = prefix.lower().replace("_", ".").split(".")
    return any(word in _AVERAGES for word in words)


def _taken(state: _State, holding: list[str], notes: list[str]) -> _State:
    prefix = holding[0]
    found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    rest = [key for key in state if not key.startswith(prefix)]
    if not rest:
        notes.append(f"prefix {prefix!r} was removed from all tensor names")
        return found
    others = f"; the same network stands under {', '.join(map(repr, holding[1:]))}" if holding[1:] else ""
    shown = f"{', '.join(rest[:_SHOWN])}{', …' if len(rest) > _SHOWN else ''}"
    notes.append(f"the tensors under {prefix!r} were taken, {len(rest)} others were not ({shown}){others}")
    return found


def _with_tied(module: nn.Module, state: _State, name: str, notes: list[str]) -> _State:
    """Files may hold one of several names of one tensor; where they hold more, these must agree."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for key, value in module.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and value.numel():
            place = (value.data_ptr(), value.shape, value.stride(), value.dtype)
            groups.setdefault(place, []).append(key)
    state = dict(state)
    for keys in groups.values():
        held = [key for key in keys if key in state]
        if len(keys) < 2 or not held:
            continue
        unequal = [k for k in held if state[k].shape == state[held[0]].shape and not _same(state, k, held[0])]
        if unequal:
            raise InputRefused(
                f"{name}: {held[0]} and {unequal[0]} are one tensor in the architecture and two in the file",
                hint="give the --arch that these weights were trained with",
            )
        for key in set(keys) - set(held):
            state[key] = state[held[0]]
            notes.append(f"{key} is stored as {held[0]}: the architecture shares it")
    return state


def _same(state: _State, one: str, other: str) -> bool:
    return torch.equal(state[one], state[other])


def _problems(module: nn.Module, state: _State) -> list[str]:
    """Why `state` is not exactly this module's; empty if it is."""
    own = module.state_dict()
    # A counter that only training reads; files of the first torch versions lack it.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} is {list(state[key].shape)} in the file and {list(own[key].shape)} in the architecture"
        for key in own
        if key in state and isinstance(own[key], Tensor) and own[key].shape != state[key].shape
    ]
    problems = []
    if missing:
        listed = [_with_match(key, own[key], unexpected, state) for key in missing[:_SHOWN]]
        problems.append(f"missing {', '.join(listed)}{_more(missing)}")
    if unexpected:
        listed = [f"{key} {list(state[key].shape)}" for key in unexpected[:_SHOWN]]
        problems.append(f"unexpected {', '.join(listed)}{_more(unexpected)}")
    return problems + shapes


def _more(keys: list[str]) -> str:
    return f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""


def _with_match(key: str, wanted: Tensor, unexpected: list[str], state: _State) -> str:
    """A missing name, and what it may be called in the file."""
    fitting = [other for other in unexpected if state[other].shape == wanted.shape]
    close = get_close_matches(key, fitting, n=1, cutoff=0.5) or fitting[:1] * (len(fitting) == 1)
    return f"{key} {list(wanted.shape)}{f' (as {close[0]}?)' if close else ''}"

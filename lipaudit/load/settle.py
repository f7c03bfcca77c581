"""The module that a factory returns, as it is deployed: unwrapped, in eval mode, all of it initialised.

`eval()` is a request that a module may override; the flags are set here and looked at again after a run.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.nn.parameter import is_lazy

from lipaudit.errors import InputRefused
from lipaudit.load.blame import first_line

__all__ = ["refuse_training", "settle"]

_WRAPPERS = ((OptimizedModule, "_orig_mod"), (nn.DataParallel, "module"))
"""What wraps a network without changing its function, and where the network is."""
_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def settle(module: nn.Module, example: Tensor, name: str, notes: list[str]) -> nn.Module:
    """Unwrap it, set it to eval mode, and give lazy layers their shapes.

    Args:
        module: from the factory; changed in place.
        example: one input.
        name: of the file, for messages.
        notes: gets what was unwrapped.

    Raises:
        InputRefused: TorchScript, quantized layers, a module that insists on training mode, or one that does
            not run.
    """
    module = _unwrapped(module, notes)
    if isinstance(module, torch.jit.ScriptModule):
        raise InputRefused(
            f"{name}: the factory returns a TorchScript module, whose Python is gone",
            hint="return the torch.nn.Module that was scripted or traced",
        )
    quantized = [key for key, part in module.named_modules() if type(part).__module__.startswith(_QUANTIZED)]
    if quantized:
        raise InputRefused(
            f"{name}: the factory returns quantized layers ({', '.join(quantized[:4])}), and rounding has no "
            "Lipschitz constant",
            hint="audit the float model it was made from",
        )
    _to_eval(module, name)
    if any(is_lazy(value) for value in (*module.parameters(), *module.buffers())):
        _initialise(module, example, name)
        _to_eval(module, name)
    return module


def _unwrapped(module: nn.Module, notes: list[str]) -> nn.Module:
    for kind, place in _WRAPPERS:
        while isinstance(module, kind) and isinstance(getattr(module, place), nn.Module):
            module = getattr(module, place)
            notes.append(f"the factory's {kind.__name__} was unwrapped")
        for part in list(module.modules()):
            for key, child in list(part.named_children()):
                if isinstance(child, kind):
                    setattr(part, key, getattr(child, place))
                    notes.append(f"the {kind.__name__} around {key!r} was unwrapped")
    for part in module.modules():
        part._compiled_call_impl = None  # noqa: SLF001 - `module.compile()` leaves no other way back
    return module


def _to_eval(module: nn.Module, name: str) -> None:
    module.eval()
    for key, part in module.named_modules():
        try:
            part.training = False
        except AttributeError:
            raise _insists(name, key, part) from None
    refuse_training(module, name)


def refuse_training(module: nn.Module, name: str) -> None:
    """Nothing may be in training mode, also not after a run.

    Raises:
        InputRefused: naming the part.
    """
    for key, part in module.named_modules():
        if part.training:
            raise _insists(name, key, part)


def _insists(name: str, key: str, part: nn.Module) -> InputRefused:
    return InputRefused(
        f"{name}: {key or 'the network'} ({type(part).__name__}) puts itself into training mode",
        hint="dropout draws at random and batch norm couples samples there: let eval() and training alone",
    )


def _initialise(module: nn.Module, example: Tensor, name: str) -> None:
    """Lazy layers take their shapes from the first input."""
    try:
        with torch.no_grad():
            module(example)
    except Exception as error:  # noqa: BLE001 - whatever the model's code raises
        raise InputRefused(
            f"{name}: the architecture's lazy layers cannot be initialised by an input of shape "
            f"{list(example.shape)}: {type(error).__name__}: {first_line(error)}",
            hint="check --input-shape and the architecture",
        ) from None

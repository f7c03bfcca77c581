"""The program of one sample, run on a batch of N.

An exported program carries the sizes of batch 1 (`view(x, [1, 3136])`).  Where the first entry of such a
size is the batch it becomes N, and the calls stay what a user's own batch would run.  Where that does not
give what the samples give one by one, `torch.vmap` maps the program over them, without its fallback that runs
them one after the other: that would time a loop.  Either way answers are compared with single samples'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.passes import move_to_device_pass

from lipaudit.cost.memory import is_out_of_memory
from lipaudit.cost.parameters import read_tensors
from lipaudit.cost.work import CannotRun, Work, bytes_of
from lipaudit.load import LoadedModel

__all__ = ["forward_pass"]

_aten = torch.ops.aten
_SIZES: dict[object, int] = {
    _aten.view.default: 1,
    _aten._unsafe_view.default: 1,  # noqa: SLF001 - an operator's name
    _aten.reshape.default: 1,
    _aten.expand.default: 1,
    _aten.new_zeros.default: 1,
    _aten.new_ones.default: 1,
    _aten.new_full.default: 1,
    _aten.new_empty.default: 1,
    _aten.zeros.default: 0,
    _aten.ones.default: 0,
    _aten.full.default: 0,
}
"""Operators that are told the shape of their result, and in which argument."""
_CLOSE = 1e-2
"""Of the largest score: float32 sums in another order differ by less, also with TF32 on a GPU."""
_SEED = 0
_Run = Callable[[Tensor], Tensor]


def forward_pass(loaded: LoadedModel, device: torch.device, count: int) -> Work:
    """One forward pass of `count` samples without gradients.

    Args:
        loaded: the model.
        device: where.
        count: ≥ 1.

    Raises:
        CannotRun: the program cannot be run on so many samples at once, or not there.
    """
    try:
        program = loaded.program if device.type == "cpu" else move_to_device_pass(loaded.program, device)
    except (RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise CannotRun(f"the program cannot be moved to {device.type}") from None
    alone: nn.Module = program.module(check_guards=False)
    samples = _samples(loaded, count).to(device)
    for how, run in _ways(program, alone, count):
        if _agrees(run, alone, samples):
            weights = read_tensors(program)
            return Work(
                run=partial(_without_gradients, run, samples),
                held=bytes_of(samples, *weights),
                dtype=str(samples.dtype).removeprefix("torch."),
                how=how,
            )
    raise CannotRun("the exported program runs on one sample at a time only")


def _samples(loaded: LoadedModel, count: int) -> Tensor:
    """(count, *sample) numbers from [0, 1), always the same."""
    source = next(
        node.meta["val"]
        for node in loaded.program.graph.nodes
        if node.op == "placeholder" and node.name in loaded.program.graph_signature.user_inputs
    )
    generator = torch.Generator().manual_seed(_SEED)
    return torch.rand((count, *loaded.input_shape[1:]), dtype=source.dtype, generator=generator)


def _ways(program: torch.export.ExportedProgram, alone: nn.Module, count: int) -> Iterator[tuple[str, _Run]]:
    if count == 1:
        yield "the exported program", alone
    resized = program.module(check_guards=False)
    _resize(resized, count)
    resized._forward_pre_hooks.clear()  # noqa: SLF001 - they refuse every batch but the exported one
    yield "the exported program, its sizes set to the batch", resized
    mapped = torch.vmap(alone)
    yield "the exported program under torch.vmap", lambda x: mapped(x.unsqueeze(1)).squeeze(1)


def _resize(module: fx.GraphModule, count: int) -> None:
    """Make a leading 1 in the sizes of results the batch, where the result's own axis is that."""
    for node in module.graph.nodes:
        place = _SIZES.get(node.target) if node.op == "call_function" else None
        if place is not None and len(node.args) > place:
            size = node.args[place]
            if isinstance(size, list | tuple) and len(size) > 1 and size[0] == 1:
                node.update_arg(place, [count, *size[1:]])
    module.recompile()


def _agrees(run: _Run, alone: _Run, samples: Tensor) -> bool:
    """Whether the batch's rows are what the first, the middle and the last sample give by themselves."""
    count = len(samples)
    try:
        with _without_loops():
            together = _without_gradients(run, samples)
        single = {k: _without_gradients(alone, samples[k : k + 1]) for k in {0, count // 2, count - 1}}
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        return False
    if together.shape != (count, *single[0].shape[1:]):
        return False
    scale = max(float(row.abs().max()) for row in single.values())
    return all(bool(((together[k : k + 1] - row).abs() <= _CLOSE * scale).all()) for k, row in single.items())


@contextmanager
def _without_loops() -> Iterator[None]:
    """`torch.vmap` raises where it has no rule for an operator, instead of calling it sample by sample."""
    switch: Any = torch._C._functorch  # noqa: SLF001 - there is no public name
    before = switch._is_vmap_fallback_enabled()  # noqa: SLF001
    switch._set_vmap_fallback_enabled(False)  # noqa: SLF001
    try:
        yield
    finally:
        switch._set_vmap_fallback_enabled(before)  # noqa: SLF001


def _without_gradients(run: _Run, samples: Tensor) -> Tensor:
    with torch.no_grad():
        return run(samples)

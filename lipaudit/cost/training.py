"""One step of training: forward, margin loss, backward, optimiser.

The module is the one that `--train-arch` builds, else `--arch`, in train mode, with its parametrisations:
what a method computes anew in each step (an orthogonalisation, a rescaling) is part of the cost.  Its weights
are those it is born with, and the step has length 0, so that every repetition does the same work.

The loss is cross-entropy of scores from which a margin was taken at the label, with a temperature; the
optimiser is SGD with momentum.  Prach, Brau, Buttazzo, Lampert (2024), "1-Lipschitz Layers Compared", CVPR.
"""

from __future__ import annotations

import contextlib
import sys
import warnings

import torch
from torch import Tensor, nn

from lipaudit.cost.memory import is_out_of_memory
from lipaudit.cost.work import CannotRun, Work, bytes_of
from lipaudit.layers import MarginLoss
from lipaudit.load import LoadedModel
from lipaudit.load.architecture import build_module
from lipaudit.load.blame import first_line

__all__ = ["training_step"]

_LOSS = MarginLoss(0.5, 0.25)
_MOMENTUM = 0.9
_HOW = "the module in train mode: forward, margin loss, backward, SGD with momentum"
_SEED = 0


def training_step(loaded: LoadedModel, arch: str | None, device: torch.device, count: int) -> Work:
    """One step on `count` samples.

    Args:
        loaded: the model; tells the shape of a sample.
        arch: who builds the module.
        device: where.
        count: ≥ 1.

    Raises:
        CannotRun: there is no module, or it does not train.
    """
    if arch is None:
        raise CannotRun(
            f"a file of format {loaded.format} holds the trained program, not the module that trains "
            "(--train-arch names it)"
        )
    try:
        module = build_module(arch, seed=_SEED).module.to(device).train()
        return _step(module, loaded.input_shape, count, device)
    except (Exception, SystemExit) as error:
        if isinstance(error, CannotRun) or is_out_of_memory(error):
            raise
        # The user's code, whatever it raises: the audit is done, and its numbers are kept.
        raise CannotRun(f"the module does not train: {type(error).__name__}: {first_line(error)}") from None


def _step(module: nn.Module, shape: tuple[int, ...], count: int, device: torch.device) -> Work:
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    generator = torch.Generator().manual_seed(_SEED)
    samples = torch.rand((count, *shape[1:]), generator=generator).to(device, dtype)
    labels = torch.zeros(count, dtype=torch.long, device=device)
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        first = module(samples)  # also gives lazy modules their sizes
    if not isinstance(first, Tensor) or first.dim() != 2:
        raise CannotRun("the module does not return one row of scores per sample")
    labels += torch.arange(count, device=device) % first.shape[1]
    del first
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        raise CannotRun("no parameter of the module asks for a gradient")
    optimiser = torch.optim.SGD(trained, lr=0.0, momentum=_MOMENTUM)

    def run() -> None:
        _LOSS(module(samples), labels).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    run()
    momenta = [s["momentum_buffer"] for s in optimiser.state.values() if s.get("momentum_buffer") is not None]
    return Work(
        run=run,
        held=bytes_of(samples, labels, *module.parameters(), *module.buffers(), *momenta),
        dtype=str(dtype).removeprefix("torch."),
        how=_HOW,
        parameters=sum(p.numel() for p in trained),
    )

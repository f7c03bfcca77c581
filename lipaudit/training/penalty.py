"""The spectral regulariser: what the linear layers of a model multiply, as a loss.

    log:  max(0, log(∏_l b_l / target))          sum:  Σ_l b_l

with b_l a differentiable bound on the norm of layer l (batch norm included, as in evaluation mode).  The
product is what the bound of a network is made of: its gradient Σ_l ∇b_l/b_l weighs a relative change of each
layer alike, and ends at the target (without one the logarithm would draw everything to 0).

`four-way` and `reshape` are √∏k·‖K_A‖, `norm` is the norm of the layer itself on the images that it meets:
the tightest, and as cheap.  All three keep singular vectors u, v from call to call and improve them by one
power step each time, so that the gradient is √∏k·uvᵀ; they run behind while weights move fast.  `gram` and
`gram-circular` are computed anew in each call.

**A loss, not a guarantee**: values may lie below the truth.  Audit what comes out.

Singla, Feizi (2021), "Fantastic Four: Differentiable Bounds on Singular Values of Convolution Layers", ICLR;
Yoshida, Miyato (2017), "Spectral Norm Regularization for Improving the Generalizability of Deep Learning",
arXiv 1705.10941 (power steps on the reshaped weight).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from lipaudit import bounds
from lipaudit.errors import UsageError
from lipaudit.spectral.four_way import folds
from lipaudit.training.capture import Capture
from lipaudit.training.layer import LinearLayer, channel_scale, named
from lipaudit.training.power_steps import PowerSteps
from lipaudit.training.structure import Structure

__all__ = ["BOUNDS", "FORMS", "Regularizer", "regularizer"]


def _folded(layer: LinearLayer, weight: Tensor, steps: PowerSteps, *, every: bool) -> Tensor:
    """√∏k·‖K_A‖, the smallest of all folds or the first one."""
    if not layer.kind.axes:
        return _itself(layer, weight, steps)
    chosen = folds(weight.shape[2:], layer.stride, layer.dilation)
    found = []
    for fold in chosen if every else chosen[:1]:
        matrices = fold.matrices(weight, layer.groups)
        name = f"{layer.name} {sorted(fold.rows)}"
        norms = steps.norms(name, _times, matrices, (len(matrices), matrices.shape[2]))
        found.append(math.sqrt(fold.factor) * norms.amax())
    return torch.stack(found).amin() * _padding_factor(layer)


def _itself(layer: LinearLayer, weight: Tensor, steps: PowerSteps) -> Tensor:
    """The largest of all groups, each of which has vectors of its own, and of all sizes of image."""
    norms = []
    for one in layer.sized():
        channels, *image = one.in_shape
        shape = (one.groups, channels // one.groups, *image)
        norms.append(steps.norms(one.name, partial(_in_groups, one), weight, shape))
    return torch.cat(norms).amax()


def _in_groups(layer: LinearLayer, weight: Tensor, vectors: Tensor) -> Tensor:
    """T on (groups, c_in/groups, *image), in one product: (groups, outputs of a group)."""
    return layer.apply(weight, vectors.flatten(0, 1)[None]).reshape(len(vectors), -1)


def _gram(layer: LinearLayer, weight: Tensor, _steps: PowerSteps) -> Tensor:
    if not layer.kind.axes:
        return bounds.gram(weight)
    norm = bounds.gram_zero(weight, stride=layer.stride, dilation=layer.dilation, groups=layer.groups)
    return norm * _padding_factor(layer)


def _gram_circular(layer: LinearLayer, weight: Tensor, _steps: PowerSteps) -> Tensor:
    """Zeros lose what a circle wraps around: the circular norm stands in for any padding's."""
    if not layer.kind.axes:
        return bounds.gram(weight)
    norms = []
    for one in layer.sized():
        image = [-(-n // s) * s for n, s in zip(one.geometry().base().image, one.stride, strict=True)]
        norm = bounds.gram_circular(
            weight, image, stride=one.stride, dilation=one.dilation, groups=one.groups
        )
        norms.append(norm * _padding_factor(one))
    return torch.stack(norms).amax()


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None])[..., 0]


def _above(found: Tensor, target: float) -> Tensor:
    """log(∏ b / target), and 0 below the target; without gradient where a b is 0, NaN where one is."""
    logarithms = torch.where(found <= 0, torch.finfo(found.dtype).tiny, found).log()
    return (logarithms.sum() - math.log(target)).clamp(min=0)


def _sum(found: Tensor, _target: float) -> Tensor:
    return found.sum()


def _padding_factor(layer: LinearLayer) -> float:
    return bounds.padding_factor(layer.geometry())


BOUNDS: dict[str, Callable[[LinearLayer, Tensor, PowerSteps], Tensor]] = {
    "norm": _itself,
    "four-way": partial(_folded, every=True),
    "reshape": partial(_folded, every=False),
    "gram": _gram,
    "gram-circular": _gram_circular,
}
FORMS: dict[str, Callable[[Tensor, float], Tensor]] = {"log": _above, "sum": _sum}
READ_IMAGES = {"norm", "gram-circular"}


def regularizer(
    model: nn.Module,
    example: Tensor | None = None,
    *,
    bound: str = "four-way",
    form: str = "log",
    target: float = 1.0,
    ignore: Sequence[str] = (),
) -> Regularizer:
    """A loss that keeps the layers of a model from amplifying.

        penalty = lipaudit.regularizer(model, images[:1])
        loss = criterion(model(images), labels) + 0.1 * penalty()

    Between the forward and the backward pass of a step the gradient of what a batch norm divides by goes
    through all layers before it; elsewhere through the lengths of the rows of the one directly before it.

    Args:
        model: its dense layers, convolutions (any stride, groups, padding mode, transposed) and batch norms
            in evaluation mode count, also with parametrised weights; each once, however often it is called.
        example: an input of the model, which is run once: it shows which batch norm alone takes what a layer
            returns and counts with it (without it only an `nn.Sequential`, taken to run as a whole, does) and
            the size of images.
        bound: `four-way`, `reshape` or `gram`; with an example also `norm` and `gram-circular`.
        form: `log` of the product of the bounds over `target`, or the `sum` of the bounds.
        target: of `log`: the product that is small enough.
        ignore: names of modules (patterns as of a shell) that do not count.

    Raises:
        UsageError: a module that holds parameters has no rule, a layer's image is not known, or the model has
            no linear layers.
    """
    structure = Structure.of(model, ignore) if example is None else Structure.seen(model, example, ignore)
    return Regularizer(structure, bound, form, target)


class Regularizer:
    """See `regularizer`; hooks on batch norms see what they divide by, until it is closed or forgotten."""

    def __init__(self, structure: Structure, bound: str, form: str, target: float) -> None:
        for given, table in ((bound, BOUNDS), (form, FORMS)):
            if given not in table:
                raise UsageError(f"regularizer: {given!r} is not one of {', '.join(table)}")
        if not 0 < target < math.inf:
            raise UsageError(f"regularizer: target={target!r} is not a positive number")
        self._structure = structure
        unseen = [layer.name for layer in structure.layers if layer.image is None]
        if unseen and bound in READ_IMAGES:
            raise UsageError(
                f"regularizer: bound={bound!r} needs to know the images that {named(unseen)} meets",
                hint="pass an input: regularizer(model, example); four-way, reshape and gram do without",
            )
        self._bound, self._form, self._target = BOUNDS[bound], FORMS[form], target
        self._steps = PowerSteps()
        self._capture = Capture(structure.norms.values(), structure.parameters())
        weakref.finalize(self, self._capture.close)

    def bounds(self) -> dict[str, Tensor]:
        """b_l of every layer by its name, scalars with gradients; a batch norm counts with its layer."""
        found, learns = {}, torch.is_grad_enabled()
        for layer in self._structure.layers:
            follow = None if layer.norm is None else self._capture.follow(layer.norm, layer.kind.axes)
            # In inference mode, too, without its tensors, which no gradient could meet later.
            with (
                torch.inference_mode(mode=False),
                torch.set_grad_enabled(learns),
                torch.autocast(layer.module.weight.device.type, enabled=False),
            ):
                found[layer.name] = self._bound(layer, layer.weight(follow), self._steps)
        for name, norm in self._structure.lone_norms.items():
            follow, scale = self._capture.follow(norm), channel_scale(norm)
            found[name] = (scale if follow is None else scale * follow).abs().amax()
        return found

    def close(self) -> None:
        """Take the hooks from the model's batch norms."""
        self._capture.close()

    def __call__(self) -> Tensor:
        """The loss, a scalar: not a Bound."""
        found = list(self.bounds().values())
        return self._form(torch.stack([value.to(found[0]) for value in found]), self._target)

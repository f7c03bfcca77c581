"""A callback that clips the spectra of a model's linear layers while it trains.

    clip = SpectralClip(model, limit=1.0, every=100)
    …  optimizer.step(); clip.step()

Every n steps each layer's top singular values are searched, from the vectors that were found the last time,
and what lies above the limit is brought down to it by `repair.fast_clip`, in place; smaller singular values
stay about where they are.  A layer and the batch norm behind it are clipped as the one map that they are in
evaluation mode, and what has to be scaled is scaled in γ (`LinearLayer.store`): that batch norm cannot undo
it.

**Measured, not certified.**  Singular values are searched from below, on the images that the layers meet,
and weights are rounded to the parameters' type.  Between clips, and as the statistics of batch norm follow
the new weights, norms grow again.  Clip once more after the last step, and audit.

Boroojeny, Telgarsky, Sundaram (2024), "Spectrum Extraction and Clipping for Implicitly Linear Layers".
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from lipaudit.errors import InputRefused, UsageError
from lipaudit.repair.fast_clip import fast_clip
from lipaudit.spectral import LinearMap
from lipaudit.spectral.block_lanczos import block_lanczos
from lipaudit.spectral.triplets import Triplets
from lipaudit.training.layer import LinearLayer, Norm, channel_scale, named
from lipaudit.training.structure import Structure
from lipaudit.training.watch import Watch

__all__ = ["Reading", "SpectralClip"]

SEARCH, TOLERANCE = 50, 1e-4
"""Block products at most, and the accuracy of the singular values, which start warm."""
NEAR = 1e-3
"""Relative excess over the limit that is scaled away: nothing is gained by cutting it."""
MOVES = 1
"""Of a convolution's weights per clip, before what is left above the limit is scaled away: the kernel moves
up to a fifth farther than it must, and a clip takes half the time of one that moves it three times."""
SWEEPS = 5
"""Over layers that share a weight, or one on images of several sizes: clipping one may stretch another."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One layer at one clip.

    Args:
        step: how often `SpectralClip.step` was called before it.
        layer: its name; of a convolution that meets images of several sizes, with other padding than zeros,
            one name for each of them: `conv @ 8×8`.
        values: its `top` largest singular values as they were found before the clip, from below, falling.
        norm: the largest one afterwards, of the weights as they are stored; where nothing was clipped that of
            `values`.
        clipped: whether the weights were changed.
    """

    step: int
    layer: str
    values: tuple[float, ...]
    norm: float
    clipped: bool


class SpectralClip:
    """A callback that brings the singular values of a model's linear layers down to a limit while it trains.

        clip = SpectralClip(model, limit=1.0, every=100)
        …  optimizer.step(); clip.step()

    Every so many steps the top singular values of each layer are measured, and those above the limit are
    clipped, in place; a batch norm that alone takes what a layer returns counts with it.  Measured, not
    certified: clip once more after the last step, and audit.

    A clip that only measures costs about as much as a step of training, one that changes large convolutions
    as much as a hundred: choose `every` by that.

    Args:
        model: its dense layers, convolutions (any stride, groups, padding mode, transposed) and batch norms
            in evaluation mode are kept within the limit, also with a parametrisation that can be assigned
            to.  Layers whose weight requires no gradient are read, not clipped.
        limit: c > 0, for the norm of each.
        every: how many calls of `step` from one clip to the next.
        example: an input, which is run once to see images, and which batch norm alone takes what a layer
            returns; without it the first forward passes are watched, by hooks that the first `step` takes
            away again, and batch norms count with their layer only in an `nn.Sequential`.
        top: how many singular values are read.
        ignore: names of modules (patterns as of a shell) that are left alone.

    Attributes:
        history: a `Reading` for each layer and clip, to plot.

    Raises:
        UsageError: numbers that cannot be meant, a module that holds parameters and has no rule, or a weight
            whose parametrisation gives back another one than was assigned (`spectral_norm`).
    """

    def __init__(
        self,
        model: nn.Module,
        limit: float = 1.0,
        *,
        every: int = 100,
        example: Tensor | None = None,
        top: int = 4,
        ignore: Sequence[str] = (),
    ) -> None:
        if not (0 < limit < math.inf and every >= 1 and top >= 1):
            raise UsageError(
                f"SpectralClip does not allow limit={limit}, every={every}, top={top}",
                hint="allowed: a positive limit, every and top from 1 on",
            )
        self.limit, self.every, self.top = limit, every, top
        self.history: list[Reading] = []
        self._structure = (
            Structure.of(model, ignore) if example is None else Structure.seen(model, example, ignore)
        )
        for layer in self._structure.layers:
            _check_assignable(layer)
        self._watch: Watch | None = self._structure.watch() if example is None else None
        self._steps = 0
        self._right: dict[str, Tensor] = {}

    def step(self) -> bool:
        """Count a step of training, and clip if it is time; call it after the optimiser's step.

        Returns:
            Whether it clipped.

        Raises:
            UsageError: as `clip`.
            InputRefused: as `clip`.
        """
        self._learn()
        self._steps += 1
        if self._steps % self.every:
            return False
        self.clip()
        return True

    def clip(self) -> None:
        """Read and clip every layer now.

        Raises:
            UsageError: a convolution's image is not known.
            InputRefused: a weight holds NaN or infinity.
        """
        self._learn()
        layers = self._structure.layers
        unseen = [layer.name for layer in layers if layer.image is None]
        if unseen:
            raise UsageError(
                f"SpectralClip: {named(unseen)} met no image yet",
                hint="run the model first, pass `example`, or name what never runs in `ignore`",
            )
        for name, norm in self._structure.lone_norms.items():
            self.history.append(self._clip_norm(name, norm))
        layers = [one for layer in layers for one in layer.sized()]
        weights = Counter(map(_weight_of, layers))
        self.history += [self._clip_layer(layer) for layer in layers]
        shared = [layer for layer in layers if weights[_weight_of(layer)] > 1]
        for _ in range(SWEEPS if shared else 0):
            again = [self._clip_layer(layer) for layer in shared]
            if not any(reading.clipped for reading in again):
                break
            self.history += [reading for reading in again if reading.clipped]

    @property
    def spectra(self) -> dict[str, tuple[float, ...]]:
        """The last top singular values found of every layer, before they were clipped."""
        return {reading.layer: reading.values for reading in self.history}

    def state_dict(self) -> dict[str, Any]:
        """Steps, vectors and history: tensors and plain values, as `torch.save` likes them."""
        return {
            "steps": self._steps,
            "right": dict(self._right),
            "history": [astuple(reading) for reading in self.history],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another left off.

        Raises:
            UsageError: it is no such state, or of another model.
        """
        if set(state) != {"steps", "right", "history"}:
            raise UsageError(f"no state of SpectralClip: it holds {', '.join(sorted(map(str, state)))}")
        known = {layer.name for layer in self._structure.layers}
        sized = tuple(f"{name} @ " for name in known)
        foreign = {name for name in state["right"] if name not in known and not name.startswith(sized)}
        if foreign:
            raise UsageError(f"the state is of another model: it knows {', '.join(sorted(foreign))}")
        self._steps, self._right = int(state["steps"]), dict(state["right"])
        self.history = [Reading(*reading) for reading in state["history"]]

    def close(self) -> None:
        """Take away what is left of the hooks; `clip` works on."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _learn(self) -> None:
        """Take over what the first forward passes showed."""
        if self._watch is not None and self._watch.seen:
            self._structure.learn(self._watch)
            self.close()

    def _clip_layer(self, layer: LinearLayer) -> Reading:
        try:
            linear_map: LinearMap = layer.linear_map()
        except InputRefused as error:
            raise InputRefused(
                f"SpectralClip: layer {layer.name!r}: {error.message}", hint=error.hint
            ) from error
        found = self._search(layer, linear_map)
        values = tuple(found.values.tolist())
        self._right[layer.name] = found.right
        if values[0] <= self.limit or not _learns(layer):
            return Reading(self._steps, layer.name, values, values[0], clipped=False)
        if values[0] > self.limit * (1 + NEAR):
            clipped = fast_clip(linear_map, self.limit, start=found.right, steps=MOVES)
            linear_map, self._right[layer.name] = clipped.map, clipped.right[: self.top]
            found = self._search(layer, linear_map)
            self._right[layer.name] = found.right
        norm = float(found.values[0])
        layer.store(linear_map.weight * (self.limit / max(norm, self.limit)))
        stored = self._search(layer, layer.linear_map())
        return Reading(self._steps, layer.name, values, float(stored.values[0]), clipped=True)

    def _search(self, layer: LinearLayer, linear_map: LinearMap) -> Triplets:
        start = self._right.get(layer.name)
        fits = start is not None and tuple(start.shape[1:]) == linear_map.in_shape
        return block_lanczos(
            linear_map.apply,
            linear_map.in_shape,
            self.top,
            adjoint=linear_map.adjoint,
            start=start if fits else None,
            steps=SEARCH,
            tolerance=TOLERANCE,
            device=linear_map.weight.device,
        )

    def _clip_norm(self, name: str, norm: Norm) -> Reading:
        """|γ_c| ≤ limit·√(v + ε)."""
        with torch.no_grad():
            sizes = channel_scale(norm).abs().double()
            if not bool(sizes.isfinite().all()):
                raise InputRefused(f"SpectralClip: layer {name!r}: it holds NaN or infinity")
            values = tuple(sizes.sort(descending=True).values[: self.top].tolist())
            if values[0] > self.limit and norm.affine and norm.weight.requires_grad:
                norm.weight.mul_((self.limit / sizes).clamp(max=1).to(norm.weight))
                largest = float(channel_scale(norm).abs().amax())
                return Reading(self._steps, name, values, largest, clipped=True)
        return Reading(self._steps, name, values, values[0], clipped=False)


def _weight_of(layer: LinearLayer) -> int:
    """What tells whether two layers have one weight; parametrised ones are computed anew at every look."""
    return id(layer.module._parameters.get("weight", layer.module))  # noqa: SLF001 - torch has no other way


def _learns(layer: LinearLayer) -> bool:
    return any(parameter.requires_grad for key, parameter in layer.module.named_parameters() if key != "bias")


def _check_assignable(layer: LinearLayer) -> None:
    """Refuse a parametrisation that does not give back what it is given."""
    if "weight" in layer.module._parameters:  # noqa: SLF001 - torch has no other way to ask
        return
    trial = copy.deepcopy(layer.module)
    with torch.no_grad():
        wanted = 0.5 * trial.weight
        try:
            trial.weight = wanted
            kept = torch.allclose(trial.weight, wanted, rtol=1e-3)
        except (NotImplementedError, RuntimeError, ValueError):
            kept = False
    if not kept:
        raise UsageError(
            f"SpectralClip: the weight of {layer.name!r} is parametrised, and is not what it is set to",
            hint="remove the parametrisation (spectral_norm and clipping do the same job), or use `ignore`",
        )

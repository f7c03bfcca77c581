"""One linear layer as training sees it: the weight that acts, with batch norm folded in.

In evaluation mode a convolution or dense layer and the batch norm behind it are one linear map,

    T = diag(γ/√(v + ε))·W,   v the running variance, per output channel.

v is measured, and follows the weight: scaling a channel of W by a scales its v by a², and T is as it was as
soon as the statistics have caught up.  So `store` keeps the length of every W_c and gives the rest to γ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.errors import UsageError
from lipaudit.spectral import Conv, Dense

__all__ = ["KINDS", "Kind", "LinearLayer", "Norm", "channel_scale", "named"]

Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
Image = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of linear layers.

    Args:
        axes: of an image; 0 for dense layers.
        transposed: whether the weight is (c_in, c_out/groups, *k).
        run: torch's function.
    """

    axes: int
    transposed: bool
    run: Callable[..., Tensor]


KINDS: dict[type[nn.Module], Kind] = {
    nn.Linear: Kind(0, transposed=False, run=F.linear),
    nn.Conv1d: Kind(1, transposed=False, run=F.conv1d),
    nn.Conv2d: Kind(2, transposed=False, run=F.conv2d),
    nn.Conv3d: Kind(3, transposed=False, run=F.conv3d),
    nn.ConvTranspose1d: Kind(1, transposed=True, run=F.conv_transpose1d),
    nn.ConvTranspose2d: Kind(2, transposed=True, run=F.conv_transpose2d),
    nn.ConvTranspose3d: Kind(3, transposed=True, run=F.conv_transpose3d),
}


@dataclass(slots=True, eq=False)
class LinearLayer:
    """A dense or convolutional layer, with the batch norm that directly follows it.

    Args:
        name: in the model.
        module: its weight may be parametrised.
        kind: its row of `KINDS`.
        norm: that batch norm, or None.
        image: the extent of its input, () for dense layers, of several the largest per axis; None while
            nobody knows.
        sizes: all images that it meets, where none of several has the norm of all: padding that repeats cells
            may amplify more on a smaller one.
    """

    name: str
    module: Any
    kind: Kind
    norm: Norm | None = None
    image: Image | None = None
    sizes: tuple[Image, ...] = ()

    def meet(self, images: Sequence[Image]) -> None:
        """Take over the images that were seen; none leave it as it is."""
        if images:
            self.image = tuple(map(max, *images)) if len(images) > 1 else images[0]
            # With zeros around it a smaller image is a part of a larger one.
            several = len(images) > 1 and self.kind.axes and self.module.padding_mode != "zeros"
            self.sizes = tuple(images) if several else ()

    def sized(self) -> list[LinearLayer]:
        """Itself, or for each of several sizes of image the layer on that one, with a name that says so."""
        return [
            replace(self, name=f"{self.name} @ {'×'.join(map(str, image))}", image=image, sizes=())
            for image in self.sizes
        ] or [self]

    @property
    def outputs(self) -> int:
        """Output channels or features."""
        return int(self.module.out_channels if self.kind.axes else self.module.out_features)

    @property
    def groups(self) -> int:
        """Blocks of channels."""
        return int(self.module.groups) if self.kind.axes else 1

    @property
    def stride(self) -> Image:
        """Per axis."""
        return tuple(self.module.stride) if self.kind.axes else ()

    @property
    def dilation(self) -> Image:
        """Per axis."""
        return tuple(self.module.dilation) if self.kind.axes else ()

    def weight(self, follow: Tensor | None = None) -> Tensor:
        """The weight of T, in float32 at least, of the shape of the module's; differentiable in W and γ.

        Args:
            follow: multiplies the rows where there is a batch norm (`Capture.follow`).  Without it the
                deviations of one that keeps measuring follow the lengths of the rows.
        """
        weight = wide(self.module.weight)
        if self.norm is None:
            return weight
        rows, scale = self._rows(weight), channel_scale(self.norm)
        if follow is None:
            rows = _of_fixed_length(rows) if self.norm.training else rows
        else:
            scale = scale * follow
        return self._shaped(rows * scale[:, None, None], weight)

    def apply(self, weight: Tensor, x: Tensor) -> Tensor:
        """T x for a batch (b, *in_shape), differentiable in the weight."""
        module = self.module
        if not self.kind.axes:
            return self.kind.run(x, weight)
        if self.kind.transposed:
            return self.kind.run(
                x,
                weight,
                None,
                module.stride,
                module.padding,
                module.output_padding,
                self.groups,
                module.dilation,
            )
        flat = [p for pair in reversed(self.padding) for p in pair]
        mode = str(module.padding_mode)
        x = F.pad(x, flat, mode="constant" if mode == "zeros" else mode)
        return self.kind.run(x, weight, None, module.stride, 0, module.dilation, self.groups)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Of one input; the image must be known."""
        if not self.kind.axes:
            return (int(self.module.in_features),)
        return (int(self.module.in_channels), *(self.image or ()))

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """(left, right) per axis, as `Conv` takes it."""
        module, kernel = self.module, self.module.kernel_size
        if module.padding == "valid":
            return ((0, 0),) * self.kind.axes
        if module.padding == "same":
            totals = [d * (k - 1) for k, d in zip(kernel, module.dilation, strict=True)]
            return tuple((total // 2, total - total // 2) for total in totals)
        if self.kind.transposed:
            pads = zip(module.padding, module.output_padding, strict=True)
            return tuple((p, p - more) for p, more in pads)
        return tuple((p, p) for p in module.padding)

    def linear_map(self) -> Dense | Conv:
        """T with its present weight, for `bracket` and `fast_clip`."""
        weight = self.weight().detach()
        return self._conv(weight) if self.kind.axes else Dense(weight)

    def geometry(self) -> Conv:
        """A convolution of that geometry with one channel per group, to ask for anything but norms."""
        return self._conv(torch.zeros(self.groups, 1, *self.module.kernel_size))

    def _conv(self, weight: Tensor) -> Conv:
        return Conv(
            weight,
            self.image or self._ample(),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            padding_mode=str(self.module.padding_mode),
            transposed=self.kind.transposed,
        )

    def store(self, weight: Tensor) -> None:
        """Make T have that weight: in place, without gradients, in the parameters' type.

        With batch norm every W_c keeps its length and γ_c gets the rest.  Where γ_c is 0 W_c stays, and where
        γ does not learn W_c gets all of it.
        """
        with torch.no_grad():
            if self.norm is None:
                self._assign(weight)
                return
            weight = weight.to(self.module.weight.device, torch.float64)
            norm, old = self.norm, self.module.weight.to(torch.float64)
            scale = channel_scale(norm).double()[:, None, None]
            rows = torch.where(scale == 0, self._rows(old), self._rows(weight) / scale)
            if norm.affine and norm.weight.requires_grad:
                have, had = (
                    torch.linalg.vector_norm(r, dim=(1, 2), keepdim=True) for r in (rows, self._rows(old))
                )
                stretch = torch.where((have > 0) & (had > 0), had / have, 1)
                rows = rows * stretch
                norm.weight.copy_(norm.weight.double() / stretch.flatten())
            self._assign(self._shaped(rows, weight))

    def _assign(self, weight: Tensor) -> None:
        """Into the parameter, or through the parametrisation's inverse."""
        stored: Tensor = self.module.weight
        weight = weight.to(stored.device, stored.dtype)
        if "weight" in self.module._parameters:  # noqa: SLF001 - torch has no other way to ask
            stored.copy_(weight)
        else:
            self.module.weight = weight

    def _ample(self) -> Image:
        """A size of image that is larger than all padding, and a multiple of the stride."""
        geometry = zip(self.module.kernel_size, self.dilation, self.stride, self.padding, strict=True)
        return tuple(s * (d * k + abs(left) + abs(right) + 2) for k, d, s, (left, right) in geometry)

    def _rows(self, weight: Tensor) -> Tensor:
        """(c_out, c_in/groups, ∏k), also for transposed convolutions."""
        if not self.kind.transposed:
            return weight.reshape(len(weight), -1, math.prod(weight.shape[2:]))
        blocks = weight.reshape(self.groups, -1, weight.shape[1], math.prod(weight.shape[2:]))
        return blocks.transpose(1, 2).flatten(0, 1)

    def _shaped(self, rows: Tensor, like: Tensor) -> Tensor:
        if not self.kind.transposed:
            return rows.reshape(like.shape)
        blocks = rows.reshape(self.groups, like.shape[1], -1, rows.shape[-1])
        return blocks.transpose(1, 2).reshape(like.shape)


def channel_scale(norm: Norm) -> Tensor:
    """γ/√(v + ε) of a batch norm in evaluation mode, (channels,), differentiable in γ."""
    if norm.running_var is None:
        raise UsageError("a batch norm keeps no running statistics: it has no constant")
    scale = (wide(norm.running_var) + norm.eps).rsqrt()
    return scale * wide(norm.weight) if norm.affine else scale


def _of_fixed_length(rows: Tensor) -> Tensor:
    """The same rows, (c, ·, ·), without gradient along themselves."""
    sizes = rows.detach().abs().amax(dim=(1, 2), keepdim=True)
    some = (sizes > 0) & sizes.isfinite()
    lengths = torch.linalg.vector_norm(rows / torch.where(some, sizes, 1), dim=(1, 2), keepdim=True)
    lengths = torch.where(some, lengths, 1)
    return rows * (lengths.detach() / lengths)


def named(layers: Sequence[str]) -> str:
    """`layer '0'`, `layers '0', '3'`: names that are numbers need a word beside them."""
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(repr, layers))}"


def wide(tensor: Tensor) -> Tensor:
    """In float32 at least."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor

"""The linear maps whose norms are bounded: `Dense` and `Conv`.

A convolution reads, for output position y and tap t of each axis, the input cell

    index(s·y + d·t − p_left),   index = identity (zeros outside), modulo n, clamp or mirror,

and every padding mode acts on one axis at a time.  That table of indices (`Conv.reads`) is the single
description from which the matrix, the multiplicities and the padding itself are derived.

Weights are widened to float64 (exact for every narrower float) and stay on their device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from lipaudit.errors import InputRefused

__all__ = ["Conv", "Dense", "LinearMap", "power_of_two"]

PADDING_MODES = ("zeros", "circular", "reflect", "replicate")
PerAxis = int | Sequence[int]
Padding = int | Sequence[int | tuple[int, int]]


class LinearMap(Protocol):
    """A linear map between tensors of fixed shapes."""

    @property
    def weight(self) -> Tensor:
        """The float64 weight."""
        ...

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of an input."""
        ...

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of an output."""
        ...

    def apply(self, x: Tensor) -> Tensor:
        """T x for a batch (b, *in_shape), in the dtype of x."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """Tᵀ y for a batch (b, *out_shape), in the dtype of y."""
        ...

    def as_matrix(self) -> Tensor:
        """T as a (prod(out_shape), prod(in_shape)) float64 matrix."""
        ...

    def with_weight(self, weight: Tensor) -> LinearMap:
        """The same map with other weights."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """y = W x with W of shape (out, in).

    Raises:
        InputRefused: if W is not a real matrix of finite numbers.
    """

    weight: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _checked(self.weight))
        if self.weight.dim() != 2:
            msg = f"a dense map needs a matrix, got shape {tuple(self.weight.shape)}"
            raise InputRefused(msg, hint="reshape the weight to (out_features, in_features)")

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(in,)."""
        return (self.weight.shape[1],)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(out,)."""
        return (self.weight.shape[0],)

    def apply(self, x: Tensor) -> Tensor:
        """W x for a batch (b, in)."""
        return x @ self.weight.to(x.dtype).T

    def adjoint(self, y: Tensor) -> Tensor:
        """Wᵀ y for a batch (b, out)."""
        return y @ self.weight.to(y.dtype)

    def as_matrix(self) -> Tensor:
        """W itself."""
        return self.weight

    def with_weight(self, weight: Tensor) -> Dense:
        """Another matrix."""
        return Dense(weight)


@dataclass(frozen=True, slots=True, eq=False)
class Conv:
    """A 1-, 2- or 3-D convolution (cross-correlation, as in torch) on an image of fixed size.

    Args:
        weight: (c_out, c_in/groups, *k); with `transposed` (c_in, c_out/groups, *k) as torch has it.
        image: the map's input extent, one number or one per axis.
        stride, dilation: one number or one per axis.
        padding: one number, or per axis a number or a pair (left, right); negative zero-padding crops.
        groups: channels fall into that many independent blocks.
        padding_mode: zeros, circular, reflect or replicate.
        transposed: torch's ConvTranspose (zeros only); `output_padding = o` is right padding p − o.

    Raises:
        InputRefused: for weights that are not finite, or geometry that has no output.
    """

    weight: Tensor
    image: tuple[int, ...]
    stride: tuple[int, ...] = (1,)
    padding: tuple[tuple[int, int], ...] = ((0, 0),)
    dilation: tuple[int, ...] = (1,)
    groups: int = 1
    padding_mode: str = "zeros"
    transposed: bool = False

    def __init__(  # noqa: PLR0913 - torch's own convolution has as many
        self,
        weight: Tensor,
        image: PerAxis,
        *,
        stride: PerAxis = 1,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        transposed: bool = False,
    ) -> None:
        weight = _checked(weight)
        axes = weight.dim() - 2
        if axes not in (1, 2, 3):
            raise InputRefused(f"a convolution weight has 3, 4 or 5 axes, got shape {tuple(weight.shape)}")
        set_field = object.__setattr__
        set_field(self, "weight", weight)
        set_field(self, "image", _per_axis(image, axes, "image"))
        set_field(self, "stride", _per_axis(stride, axes, "stride"))
        set_field(self, "padding", _pairs(padding, axes))
        set_field(self, "dilation", _per_axis(dilation, axes, "dilation"))
        set_field(self, "groups", int(groups))
        set_field(self, "padding_mode", padding_mode)
        set_field(self, "transposed", bool(transposed))
        self._check_geometry()

    def _check_geometry(self) -> None:
        problems = [
            (self.padding_mode not in PADDING_MODES, f"padding_mode is one of {', '.join(PADDING_MODES)}"),
            (min(*self.image, *self.stride, *self.dilation, self.groups) < 1, "extents start at 1"),
            (self.weight.numel() == 0, "the weight is empty"),
            (self.groups < 1 or self.weight.shape[0] % max(self.groups, 1) != 0, "groups divide channels"),
            (self.transposed and self.padding_mode != "zeros", "transposed convolutions pad with zeros"),
        ]
        mirrored = zip(self.image, self.padding, strict=True)
        if self.padding_mode != "zeros":
            problems.append((min(min(p) for p in self.padding) < 0, "only zero padding may be negative"))
        if self.padding_mode == "reflect":
            problems.append((any(max(p) >= n for n, p in mirrored), "reflect padding stays below n"))
        for wrong, rule in problems:
            if wrong:
                raise InputRefused(f"{self!r}: {rule}")
        if min(self.out_image) < 1:
            raise InputRefused(f"{self!r}: the image is smaller than the kernel, there is no output")
        padded = zip(self.out_image if self.transposed else self.image, self.padding, strict=True)
        if any(n + min(left, 0) + min(right, 0) < 0 for n, (left, right) in padded):
            raise InputRefused(f"{self!r}: more is cropped than there is")

    def __repr__(self) -> str:
        return (
            f"Conv(weight {tuple(self.weight.shape)}, image {self.image}, stride {self.stride}, "
            f"padding {self.padding}, dilation {self.dilation}, groups {self.groups}, {self.padding_mode}"
            f"{', transposed' if self.transposed else ''})"
        )

    @property
    def kernel(self) -> tuple[int, ...]:
        """Kernel size k per axis."""
        return tuple(self.weight.shape[2:])

    @property
    def extent(self) -> tuple[int, ...]:
        """Dilated extent e = d(k − 1) + 1 per axis."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))

    @property
    def out_image(self) -> tuple[int, ...]:
        """Output extent per axis."""
        geometry = zip(self.image, self.padding, self.extent, self.stride, strict=True)
        if self.transposed:
            return tuple((n - 1) * s - left - right + e for n, (left, right), e, s in geometry)
        return tuple((n + left + right - e) // s + 1 for n, (left, right), e, s in geometry)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(c_in, *image)."""
        channels = self.weight.shape[0] if self.transposed else self.weight.shape[1] * self.groups
        return (channels, *self.image)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(c_out, *out_image)."""
        channels = self.weight.shape[1] * self.groups if self.transposed else self.weight.shape[0]
        return (channels, *self.out_image)

    def with_weight(self, weight: Tensor) -> Conv:
        """The same geometry with another kernel of the same shape."""
        return self._rebuilt(weight, self.image, transposed=self.transposed)

    def in_one_group(self, weight: Tensor) -> Conv:
        """The same geometry with all channels in one group, any number of them."""
        return self._rebuilt(weight, self.image, groups=1, transposed=self.transposed)

    def base(self) -> Conv:
        """A plain convolution of the same norm: itself, or the adjoint of a transposed one."""
        return self._rebuilt(self.weight, self.out_image, transposed=False) if self.transposed else self

    def used(self) -> Conv:
        """The same map with zeros for the taps that only ever meet padding (not for transposed maps)."""
        weight = self.weight
        for axis in range(len(self.image)):
            met = (self.reads(axis) >= 0).any(dim=1)
            shape = [1] * weight.dim()
            shape[axis + 2] = -1
            # Not a product: an unused tap may be as large as it likes.
            weight = torch.where(met.reshape(shape).to(weight.device), weight, 0.0)
        return self.with_weight(weight)

    def _rebuilt(
        self, weight: Tensor, image: tuple[int, ...], *, groups: int | None = None, transposed: bool
    ) -> Conv:
        return Conv(
            weight,
            image,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups if groups is None else groups,
            padding_mode=self.padding_mode,
            transposed=transposed,
        )

    def reads(self, axis: int) -> Tensor:
        """Which input cell each (tap, output position) reads: (k, n_out) int64, −1 for a padded zero.

        Not for transposed maps (take `base()`).
        """
        taps = torch.arange(self.kernel[axis]) * self.dilation[axis]
        starts = torch.arange(self.out_image[axis]) * self.stride[axis] - self.padding[axis][0]
        return self.source_cells(axis, taps[:, None] + starts[None, :])

    def source_cells(self, axis: int, position: Tensor) -> Tensor:
        """Input cell at each position of the padded axis (position 0 is the first real cell)."""
        n = self.image[axis]
        if self.padding_mode == "circular":
            return position % n
        if self.padding_mode == "replicate":
            return position.clamp(0, n - 1)
        if self.padding_mode == "reflect":
            period = max(2 * (n - 1), 1)
            folded = position % period
            return torch.minimum(folded, period - folded)
        return torch.where((position < 0) | (position >= n), -1, position)

    def apply(self, x: Tensor) -> Tensor:
        """T x for a batch (b, *in_shape), in the dtype of x."""
        if self.transposed:
            return self.base().adjoint(x)
        convolve = (F.conv1d, F.conv2d, F.conv3d)[len(self.image) - 1]
        weight = self.weight.to(x.dtype)
        result: Tensor = convolve(
            self._pad(x), weight, stride=self.stride, dilation=self.dilation, groups=self.groups
        )
        return result

    def adjoint(self, y: Tensor) -> Tensor:
        """Tᵀ y for a batch (b, *out_shape), in the dtype of y."""
        if self.transposed:
            return self.base().apply(y)
        spread = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(self.image) - 1]
        weight = self.weight.to(y.dtype)
        padded: Tensor = spread(y, weight, stride=self.stride, dilation=self.dilation, groups=self.groups)
        return self._unpad(padded)

    def _pad(self, x: Tensor) -> Tensor:
        """The padded image the valid convolution reads, axis by axis."""
        if self.padding_mode == "zeros":
            flat = [p for pair in reversed(self.padding) for p in pair]
            return F.pad(x, flat)
        for axis, (left, right) in enumerate(self.padding):
            source = self.source_cells(axis, torch.arange(-left, self.image[axis] + right))
            x = x.index_select(axis + 2, source.to(x.device))
        return x

    def _unpad(self, padded: Tensor) -> Tensor:
        """Adjoint of `_pad`: every padded cell returns what it holds to the cell it copied."""
        for axis, (left, right) in enumerate(self.padding):
            n, have = self.image[axis], padded.shape[axis + 2]
            source = self.source_cells(axis, torch.arange(-left, max(n + right, have - left)))[:have]
            keep = (source >= 0).nonzero().flatten()
            shape = [*padded.shape[: axis + 2], n, *padded.shape[axis + 3 :]]
            empty = torch.zeros(shape, dtype=padded.dtype, device=padded.device)
            read = padded.index_select(axis + 2, keep.to(padded.device))
            padded = empty.index_add(axis + 2, source[keep].to(padded.device), read)
        return padded

    def blocks(self) -> Tensor:
        """The matrix of each group: (groups, rows, cols) float64, of the plain (`base`) convolution.

        Entries are sums of kernel entries; with zero padding each has one term and is exact.
        """
        if self.transposed:
            return self.base().blocks()
        axes = len(self.image)
        matrix = self.weight.reshape(self.groups, -1, *self.weight.shape[1:])
        for axis in range(axes):
            reads = self.reads(axis)
            onehot = torch.zeros(*reads.shape, self.image[axis], dtype=torch.float64)
            onehot.scatter_(2, reads.clamp(min=0)[..., None], (reads >= 0).double()[..., None])
            # The tap axis always stands third; its output and input positions go to the end.
            matrix = torch.tensordot(matrix, onehot.to(matrix.device), dims=([3], [0]))
        order = [0, 1, *range(3, 3 + 2 * axes, 2), 2, *range(4, 4 + 2 * axes, 2)]
        rows = matrix.shape[1] * math.prod(self.out_image)
        return matrix.permute(order).reshape(self.groups, rows, -1)

    def as_matrix(self) -> Tensor:
        """T as a (prod(out_shape), prod(in_shape)) float64 matrix."""
        matrix: Tensor = torch.block_diag(*self.blocks())
        return matrix.T if self.transposed else matrix


def _checked(weight: Tensor) -> Tensor:
    if weight.is_complex():
        raise InputRefused("a weight is complex; only real weights are supported")
    if not weight.is_floating_point() and weight.numel() and int(weight.abs().max()) > 2**53:
        raise InputRefused("a weight holds whole numbers beyond 2⁵³, which float64 would round")
    weight = weight.detach().to(torch.float64)
    if not bool(torch.isfinite(weight).all()):
        raise InputRefused(
            "a weight holds NaN or infinity", hint="repair or re-export the model: no bound exists for it"
        )
    return weight


def _per_axis(value: PerAxis, axes: int, what: str) -> tuple[int, ...]:
    values = (value,) * axes if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != axes:
        raise InputRefused(f"{what} needs one number or {axes}, got {values}")
    return values


def _pairs(padding: Padding, axes: int) -> tuple[tuple[int, int], ...]:
    values = (padding,) * axes if isinstance(padding, int) else tuple(padding)
    if len(values) != axes:
        raise InputRefused(f"padding needs one entry or {axes}, got {values}")
    return tuple((v, v) if isinstance(v, int) else (int(v[0]), int(v[1])) for v in values)


def power_of_two(weight: Tensor) -> int:
    """Exponent c with max|weight|·2^(−c) in [½, 1); 0 for a zero weight."""
    largest = float(weight.abs().max()) if weight.numel() else 0.0
    return math.frexp(largest)[1]

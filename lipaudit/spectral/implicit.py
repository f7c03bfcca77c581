"""A linear map that is known by what it does: T v = f(v) − f(0) for an affine f, and Tᵀ by autodiff.

Tᵀy is the gradient of ⟨f(x), y⟩ in x, the same at every x, so one recorded forward pass serves all y:
no matrix is formed, and padding, strides and compositions need no formulas of their own.

Images are scaled by a power of two, so that TᵀT neither overflows nor underflows where T does not.

⟨TᵀTX, X⟩ = ‖TX‖² holds for linear maps and their adjoints only; every product is tested by it.

Boroojeny, Telgarsky, Sundaram (2024), "Spectrum Extraction and Clipping for Implicitly Linear Layers".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lipaudit.errors import InputRefused
from lipaudit.spectral.checker import scaled

__all__ = ["Apply", "Implicit"]

Apply = Callable[[Tensor], Tensor]
"""Maps a batch (b, *shape) to a batch (b, *other shape)."""
AGREEMENT = 1e-3
"""⟨TᵀTX, X⟩ and ‖TX‖² may differ by so much, relatively: float32 with long sums stays far below."""
LOST = 1e4
"""Units of rounding, relative to the largest image: vectors in the kernel have no other images."""


class Implicit:
    """T on rows: (b, inputs) → (b, outputs), both flattened.

    Args:
        apply: f, affine, for a batch (b, *in_shape).
        in_shape: of one input.
        adjoint: y ↦ Tᵀy for a batch (b, *out_shape); from autodiff if None.
        dtype: what f computes in.
        device: where f computes.
    """

    def __init__(
        self,
        apply: Apply,
        in_shape: Sequence[int],
        *,
        adjoint: Apply | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> None:
        self._apply, self._adjoint = apply, adjoint
        self.in_shape = tuple(in_shape)
        self.dtype, self.device = dtype, device or torch.device("cpu")
        self.inputs = math.prod(self.in_shape)
        self.exponent = 0
        self._largest = 0.0
        self._recorded: tuple[Tensor, Tensor] | None = None
        with torch.no_grad():
            self._at_zero = self._run(torch.zeros(1, self.inputs, dtype=dtype, device=self.device))
        self.out_shape = tuple(self._at_zero.shape[1:])

    @property
    def outputs(self) -> int:
        """Entries of one output."""
        return math.prod(self.out_shape)

    def times(self, x: Tensor) -> Tensor:
        """T x · 2^(−exponent) for rows (b, inputs), in the type of f.

        Raises:
            InputRefused: if f returns NaN or infinity.
        """
        with torch.no_grad():
            image = (self._run(x) - self._at_zero).flatten(1)
        if not bool(torch.isfinite(image).all()):
            raise InputRefused(
                "a linear map returns NaN or infinity", hint="scale its weights, or repair the model"
            )
        return scaled(image, -self.exponent)

    def scale_by(self, x: Tensor) -> None:
        """Choose the exponent with which the images of x are about 1 in size."""
        self.exponent, self._largest = 0, 0.0
        largest = float(self.times(x).abs().max()) if self.outputs else 0.0
        self.exponent = math.frexp(largest)[1]

    def back(self, y: Tensor) -> Tensor:
        """Tᵀ y · 2^(−exponent) for rows (b, outputs)."""
        shaped = y.reshape(len(y), *self.out_shape)
        if self._adjoint is not None:
            with torch.no_grad():
                pulled = self._adjoint(shaped)
        else:
            pulled = self._pulled(shaped)
        return scaled(pulled.reshape(len(y), self.inputs), -self.exponent)

    def normal_product(self, x: Tensor, image: Tensor) -> Tensor:
        """TᵀT x for rows x with their images, both scaled.

        Raises:
            InputRefused: if f is not affine, or the adjoint is not its adjoint.
        """
        product = self.back(image)
        size = float(torch.linalg.vector_norm(image).double())
        self._largest = max(self._largest, size)
        unsure = AGREEMENT * size + LOST * torch.finfo(self.dtype).eps * self._largest
        if not abs(float((product * x).sum()) - size**2) <= unsure * size:
            raise InputRefused(
                "the map is not affine, or its derivative is not what it does: ⟨TᵀTx, x⟩ ≠ ‖Tx‖²",
                hint="leave out activations, and anything that hides the gradient",
            )
        return product

    def _run(self, x: Tensor) -> Tensor:
        image = self._apply(x.reshape(len(x), *self.in_shape))
        if image.dim() < 1 or len(image) != len(x):
            msg = f"a batch of {len(x)} inputs became {tuple(image.shape)}"
            raise InputRefused(
                msg, hint="the map must take a batch (b, *in_shape) to a batch (b, *out_shape)"
            )
        return image

    def _pulled(self, y: Tensor) -> Tensor:
        if self._recorded is None or len(self._recorded[0]) != len(y):
            with torch.enable_grad():
                at = torch.zeros(
                    len(y), self.inputs, dtype=self.dtype, device=self.device, requires_grad=True
                )
                self._recorded = at, self._run(at)
        at, image = self._recorded
        if not image.requires_grad:
            return torch.zeros_like(at)
        (pulled,) = torch.autograd.grad(image, at, y, retain_graph=True, allow_unused=True)
        return torch.zeros_like(at) if pulled is None else pulled

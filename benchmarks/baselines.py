"""What others compute, and the truth: no code of lipaudit's own methods, and no error terms.

All grids are the same: that of the smallest circulant embedding (zero padding) or of the circle itself.  Only
`numpy` and `svdvals` in float64 err by rounding alone; neither is a bound, for nobody adds that rounding.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import numpy as np
import torch
from layers import Layer
from measuring import Silent
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor, nn

from lipaudit.spectral import ESTIMATES, Conv, Dense

__all__ = ["BASELINES", "GRID_MAXIMUM", "truth"]

GRAM_STEPS, KERNEL_STEPS = 6, 5
LARGEST_KERNELS = 2e12
"""Products of the last step of a kernel's correlation with itself that are waited for."""
CONVERGED, RESTARTS = 1e-5, 12
"""ARPACK stops when the residual of σ₁² is below this relatively; its error is far smaller."""
LARGEST_EXACT, LARGEST_MATRIX = 2_500_000, 20_000_000
"""Entries of an input, and of a dense weight, up to which the truth is searched in float64 by ARPACK."""


def truth(linear_map: Conv | Dense) -> float:
    """The largest ‖Tv‖/‖v‖ found: by ARPACK in float64 or, on the largest images, by lipaudit's Lanczos.

    Either is a lower end, whatever the search did.
    """
    known = max(estimator.estimate(linear_map).value for estimator in ESTIMATES)
    size = math.prod(linear_map.in_shape)
    if size > LARGEST_EXACT or size < 3 or linear_map.weight.numel() > LARGEST_MATRIX:
        return known

    def normal(flat: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(flat)).reshape(1, *linear_map.in_shape)
        return linear_map.adjoint(linear_map.apply(x)).flatten().numpy()

    operator = LinearOperator((size, size), matvec=normal, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    try:
        (squared,), vectors = eigsh(operator, k=1, tol=CONVERGED, v0=start, maxiter=RESTARTS)
    except ArpackNoConvergence as stopped:
        if not len(stopped.eigenvalues):
            return known
        squared, vectors = stopped.eigenvalues[0], stopped.eigenvectors
    del squared
    found = torch.from_numpy(np.ascontiguousarray(vectors[:, 0]))
    image = linear_map.apply(found.reshape(1, *linear_map.in_shape))
    return max(known, float(torch.linalg.vector_norm(image) / torch.linalg.vector_norm(found)))


def _on_grid(layer: Layer, weight: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """The kernel regrouped for its stride, and the points of the grid per axis."""
    s, k, n = layer.stride, layer.k, layer.n
    if layer.mode == "zeros":
        n_out = (n + 2 * layer.pads - k) // s + 1
        points = -(-max(n + min(layer.pads, k - 1), s * (n_out - 1) + 1) // s)
    elif layer.mode == "circular" and n % s == 0 and 2 * layer.pads == k - 1:
        points = n // s
    else:
        raise Silent("no exact grid")
    taps = -(-k // s)
    padded = nn.functional.pad(weight, (0, taps * s - k) * 2)
    split = padded.reshape(*weight.shape[:2], taps, s, taps, s).permute(0, 1, 3, 5, 2, 4)
    return split.reshape(len(weight), -1, taps, taps), (points, points)


def _half_grid(layer: Layer, weight: Tensor) -> Tensor:
    kernel, grid = _on_grid(layer, weight)
    return torch.fft.rfft2(kernel, s=grid).permute(2, 3, 0, 1).flatten(0, 1)


def _numpy(layer: Layer, weight: Tensor) -> float:
    kernel, grid = _on_grid(layer, weight)
    symbol = np.fft.fft2(kernel.numpy(), s=grid, axes=(2, 3)).transpose(2, 3, 0, 1)
    return max(float(np.linalg.svd(row, compute_uv=False).max()) for row in symbol)


def _svdvals(dtype: torch.dtype) -> Callable[[Layer, Tensor], float]:
    def call(layer: Layer, weight: Tensor) -> float:
        chunks = _half_grid(layer, weight.to(dtype)).split(256)
        return max(float(torch.linalg.svdvals(chunk)[..., 0].max()) for chunk in chunks)

    return call


def _gram(layer: Layer, weight: Tensor) -> float:
    """Gram iteration in float32 as published: without its rounding it may print less than the truth."""
    G = _half_grid(layer, weight.float())
    G = G.mH if G.shape[1] > G.shape[2] else G
    log = torch.zeros(len(G))
    for step in range(GRAM_STEPS):
        norm = torch.linalg.vector_norm(G, dim=(1, 2)).clamp(min=1e-30)
        log += norm.log() / 2**step
        G = G / norm[:, None, None]
        G = G @ G.mH
    last = torch.linalg.vector_norm(G, dim=(1, 2)).log() / 2**GRAM_STEPS
    return float((log + last).max().exp())


def _gram_of_kernel(layer: Layer, weight: Tensor) -> float:
    """Gram iteration of Delattre et al. (2024) for zero padding: the kernel is correlated with itself.

    K ← Σ_c K_{ac} ⋆ K_{bc}, five times; then ‖·‖_∞ of the map, the largest Σ|K| of an output.  In float32,
    without rounding, as published; the kernel is regrouped for its stride.
    """
    if layer.mode != "zeros":
        raise Silent("other padding")
    K, _ = _on_grid(layer, weight.float())
    K = K.transpose(0, 1).flip(2, 3) if len(K) > K.shape[1] else K
    if len(K) ** 2 * K.shape[1] * (2**KERNEL_STEPS * (K.shape[-1] - 1)) ** 4 / 4 > LARGEST_KERNELS:
        raise Silent("hopeless")
    log = 0.0
    for step in range(KERNEL_STEPS):
        norm = float(torch.linalg.vector_norm(K))
        log += math.log(norm) / 2**step
        K = K / norm
        K = nn.functional.conv2d(K, K, padding=K.shape[-1] - 1)
    return math.exp(log + math.log(float(K.abs().sum(dim=(1, 2, 3)).max())) / 2**KERNEL_STEPS)


def _orthogonium(layer: Layer, weight: Tensor) -> float:
    """Its estimator of Delattre et al. (2023, 2024), four steps in float32; strides are ignored there."""
    if importlib.util.find_spec("orthogonium") is None:
        raise Silent("orthogonium is not installed")
    from orthogonium.layers.conv.singular_values import get_conv_sv  # noqa: PLC0415 - optional

    if layer.mode not in ("zeros", "circular"):
        raise Silent("other padding")
    module = nn.Conv2d(
        layer.c_in, layer.c_out, layer.k, layer.stride, layer.pads, padding_mode=layer.mode, bias=False
    )
    module.weight.data = weight.float()
    return float(get_conv_sv(module, n_iter=4, return_stab_rank=False, imsize=layer.n))


GRID_MAXIMUM = "FFT + svdvals float64"
BASELINES: dict[str, Callable[[Layer, Tensor], float]] = {
    "numpy FFT + SVD, full grid": _numpy,
    GRID_MAXIMUM: _svdvals(torch.float64),
    "FFT + svdvals float32": _svdvals(torch.float32),
    "Gram float32, 6 steps": _gram,
    "Gram of the kernel float32, 5 steps": _gram_of_kernel,
    "orthogonium, 4 steps": _orthogonium,
}

"""Orthogonal and rescaled linear layers, activations that keep the norm, and networks of all families.

AOL       W·diag(1/√Σ_i |WᵀW|_ij)                       Prach, Lampert 2022, arXiv 2208.03160
BCOP      a kernel composed of projector convolutions, circular     Li et al. 2019, arXiv 1911.00937
Cayley    (I + A)⁻¹(I − A) per frequency, circular      Trockman, Kolter 2021, arXiv 2104.07167
LOT       (WWᴴ)^(−½)W per frequency, zeros around       Xu, Li, Li 2022, arXiv 2210.11620
ECO       orthogonal samples of the symbol, dilated, circular       Yu et al. 2022, ICLR
ONI       (VVᵀ)^(−½)V of the reshaped kernel            Huang et al. 2020, arXiv 2004.00917
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from lipschitz_nets import Layer, Weights, generator, normal, stored
from torch import Tensor, nn

__all__ = [
    "GroupSort",
    "Householder",
    "MaxMin",
    "aol_conv",
    "aol_dense",
    "bcop",
    "cayley",
    "eco",
    "last_layer",
    "lot",
    "oni",
    "spectral_norm",
]


def aol_dense(seed: int, *, size: int = 6, out: int = 5, steps: int = 0) -> Layer:
    """An AOL linear layer."""
    g = generator(seed)
    raw = {"w": normal(g, out, size), "b": 0.3 * normal(g, out)}

    def derive(raw: Weights) -> Weights:
        w = raw["w"]
        return {"weight": w * (w.T @ w).abs().sum(0) ** -0.5, "bias": raw["b"]}

    return stored(raw, derive, F.linear, (1, size), steps=steps)


def aol_conv(
    seed: int, *, channels: int = 3, out: int = 4, image: int = 6, mode: str = "constant", steps: int = 0
) -> Layer:
    """An AOL convolution 3×3, padded with zeros ("constant") or circularly."""
    g = generator(seed)
    raw = {"w": normal(g, out, channels, 3, 3), "b": 0.3 * normal(g, out)}

    def derive(raw: Weights) -> Weights:
        turned = raw["w"].transpose(0, 1)
        products = F.conv2d(turned, turned, padding=2).abs().sum((1, 2, 3))
        return {"w": raw["w"] * products[:, None, None] ** -0.5, "b": raw["b"]}

    def function(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode=mode), w, b)

    return stored(raw, derive, function, (1, channels, image, image), steps=steps)


def bcop(seed: int, *, channels: int = 4, image: int = 6, kernel: int = 3, steps: int = 0) -> Layer:
    """A BCOP convolution, circular."""
    g = generator(seed)
    raw = {
        "h": normal(g, channels, channels),
        "p": normal(g, 2 * (kernel - 1), channels, channels // 2),
        "b": 0.3 * normal(g, channels),
    }

    def derive(raw: Weights) -> Weights:
        one = torch.eye(channels, dtype=torch.float64)
        taps = torch.linalg.qr(raw["h"])[0][:, :, None, None]
        for index, basis in enumerate(raw["p"]):
            u = torch.linalg.qr(basis)[0]
            pair = torch.stack([u @ u.T, one - u @ u.T])
            # (P z⁰ + (I − P) z¹) after what there is, along one axis at a time.
            widths = ((0, 0, 0, 1), (0, 0, 1, 0)) if index % 2 else ((0, 1, 0, 0), (1, 0, 0, 0))
            taps = sum(
                torch.einsum("oi,ijhw->ojhw", part, F.pad(taps, width))
                for part, width in zip(pair, widths, strict=True)
            )
        return {"w": taps, "b": raw["b"]}

    before = (kernel - 1) // 2
    widths = (before, kernel - 1 - before) * 2

    def function(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, widths, mode="circular"), w, b)

    return stored(raw, derive, function, (1, channels, image, image), steps=steps)


def cayley(
    seed: int, *, channels: int = 3, out: int = 3, image: int = 6, spelling: str = "einsum", steps: int = 0
) -> Layer:
    """A Cayley layer; products per frequency by "einsum", as "bmm" of spectra, or of "pairs" of reals."""
    g, half = generator(seed), image // 2 + 1
    raw = {"w": normal(g, out, channels, 3, 3), "b": 0.3 * normal(g, out)}

    def derive(raw: Weights) -> Weights:
        w = torch.fft.rfft2(raw["w"], s=(image, image)).permute(2, 3, 0, 1)
        q = _cayley(w if out >= channels else w.mH)
        q = q if out >= channels else q.mH
        if spelling == "bmm":
            q = q.reshape(-1, out, channels)
        return {"re": q.real, "im": q.imag, "b": raw["b"][:, None, None]}

    def einsum(x: Tensor, re: Tensor, im: Tensor, b: Tensor) -> Tensor:
        y = torch.einsum("hwoi,bihw->bohw", torch.complex(re, im), torch.fft.rfft2(x))
        return torch.fft.irfft2(y, s=(image, image)) + b

    def bmm(x: Tensor, re: Tensor, im: Tensor, b: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x).permute(2, 3, 1, 0).reshape(image * half, channels, -1)
        y = (torch.complex(re, im) @ spectrum).reshape(image, half, out, -1)
        return torch.fft.irfft2(y.permute(3, 2, 0, 1), s=(image, image)) + b

    def pairs(x: Tensor, re: Tensor, im: Tensor, b: Tensor) -> Tensor:
        return torch.fft.irfft2(product_of_pairs(torch.fft.rfft2(x), re, im), s=(image, image)) + b

    function = {"einsum": einsum, "bmm": bmm, "pairs": pairs}[spelling]
    return stored(raw, derive, function, (1, channels, image, image), steps=steps)


def product_of_pairs(spectrum: Tensor, re: Tensor, im: Tensor) -> Tensor:
    """Matrices times spectrum without complex products, as exporters to ONNX need it."""
    real, imaginary = torch.view_as_real(spectrum).unbind(-1)

    def at_each(matrices: Tensor, values: Tensor) -> Tensor:
        return torch.einsum("hwoi,bihw->bohw", matrices, values)

    return torch.complex(
        at_each(re, real) - at_each(im, imaginary), at_each(re, imaginary) + at_each(im, real)
    )


def _cayley(w: Tensor) -> Tensor:
    """Orthonormal columns from a free tall matrix, for a stack of them."""
    columns = w.shape[-1]
    u, v = w[..., :columns, :], w[..., columns:, :]
    a = u - u.mH + v.mH @ v
    one = torch.eye(columns, dtype=w.dtype)
    inverse = torch.linalg.inv(one + a)
    return torch.cat([inverse @ (one - a), -2 * v @ inverse], -2)


def lot(
    seed: int,
    *,
    channels: int = 3,
    out: int = 3,
    image: int = 5,
    padding: int = 1,
    spelling: str = "einsum",
    steps: int = 0,
) -> Layer:
    """A LOT layer; products per frequency by "einsum" or of "pairs" of reals."""
    g, wide = generator(seed), image + 2 * padding
    raw = {"w": normal(g, out, channels, 3, 3), "b": 0.3 * normal(g, out)}

    def derive(raw: Weights) -> Weights:
        w = torch.fft.fft2(raw["w"], s=(wide, wide)).permute(2, 3, 0, 1)
        short = w if out <= channels else w.mH
        values, vectors = torch.linalg.eigh(short @ short.mH)
        q = (vectors * values[..., None, :] ** -0.5) @ vectors.mH @ short
        q = q if out <= channels else q.mH
        return {"re": q.real, "im": q.imag, "b": raw["b"][:, None, None]}

    def function(x: Tensor, re: Tensor, im: Tensor, b: Tensor) -> Tensor:
        spectrum = torch.fft.fft2(F.pad(x, (padding,) * 4))
        if spelling == "pairs":
            y = product_of_pairs(spectrum, re, im)
        else:
            y = torch.einsum("hwoi,bihw->bohw", torch.complex(re, im), spectrum)
        y = torch.fft.ifft2(y).real
        return y[:, :, padding : padding + image, padding : padding + image] + b

    return stored(raw, derive, function, (1, channels, image, image), steps=steps)


def eco(seed: int, *, channels: int = 3, image: int = 6, kernel: int = 3, steps: int = 0) -> Layer:
    """An ECO-like layer: circular, dilation ⌊image/kernel⌋; orthogonal only if kernel divides image."""
    g, d = generator(seed), image // kernel
    raw = {"w": normal(g, channels, channels, kernel, kernel), "b": 0.3 * normal(g, channels)}
    before = d * (kernel - 1) // 2
    widths = (before, d * (kernel - 1) - before) * 2

    def derive(raw: Weights) -> Weights:
        w = torch.fft.fft2(raw["w"]).permute(2, 3, 0, 1)
        q = torch.matrix_exp(w - w.mH)
        return {"w": torch.fft.ifft2(q.permute(2, 3, 0, 1)).real, "b": raw["b"]}

    def function(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, widths, mode="circular"), w, b, dilation=d)

    return stored(raw, derive, function, (1, channels, image, image), steps=steps)


def oni(seed: int, *, channels: int = 3, out: int = 4, image: int = 6, steps: int = 0) -> Layer:
    """A convolution whose reshaped kernel has orthonormal rows; its norm may be up to 3."""
    g = generator(seed)
    raw = {"w": normal(g, out, channels * 9) + 1.0, "b": 0.3 * normal(g, out)}

    def derive(raw: Weights) -> Weights:
        values, vectors = torch.linalg.eigh(raw["w"] @ raw["w"].T)
        rows = (vectors * values**-0.5) @ vectors.T @ raw["w"]
        return {"w": rows.reshape(out, channels, 3, 3), "b": raw["b"]}

    def function(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.conv2d(x, w, b, padding=1)

    return stored(raw, derive, function, (1, channels, image, image), steps=steps)


def spectral_norm(seed: int, *, channels: int = 3, out: int = 4) -> nn.Module:
    """torch's own normalisation of a convolution's reshaped kernel, after some steps of its iteration."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.utils.parametrizations.spectral_norm(nn.Conv2d(channels, out, 3, padding=1))
        for _ in range(20):
            layer(torch.zeros(1, channels, 6, 6))
    return layer.eval().requires_grad_(requires_grad=False)


def last_layer(seed: int, *, size: int = 6, classes: int = 3, steps: int = 0) -> Layer:
    """Rows of length 1, normalised at every call: differences of two logits have constant ≤ 2."""
    g = generator(seed)
    raw = {"w": normal(g, classes, size), "b": 0.3 * normal(g, classes)}
    return stored(raw, dict, lambda x, w, b: F.linear(x, F.normalize(w), b), (1, size), steps=steps)


# Activations


class MaxMin(nn.Module):
    """Pairs of the two halves of the channels, sorted."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


class GroupSort(nn.Module):
    """Neighbouring channels sorted in groups."""

    def __init__(self, group: int = 2) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        grouped = x.reshape(x.shape[0], -1, self.group, *x.shape[2:])
        return grouped.sort(2).values.reshape(x.shape)


class Householder(nn.Module):
    """HH¹: pairs (a, b) of the two halves are reflected onto one side of a line at the angle θ/2.

    Singla, Singla, Feizi (2021), arXiv 2108.04062, sec. 5.
    """

    def __init__(self, seed: int, channels: int, axes: int = 2, *, blend: str = "where") -> None:
        super().__init__()
        self.blend = blend
        theta = 0.5 * math.pi + 0.5 * normal(generator(seed), channels // 2, *[1] * axes)
        self.theta = nn.Parameter(theta.float(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        side = a * torch.sin(self.theta / 2) - b * torch.cos(self.theta / 2)
        c = a * torch.cos(self.theta) + b * torch.sin(self.theta)
        d = a * torch.sin(self.theta) - b * torch.cos(self.theta)
        if self.blend == "where":
            return torch.cat([torch.where(side <= 0, a, c), torch.where(side <= 0, b, d)], 1)
        return torch.cat([a * (side <= 0) + c * (side > 0), b * (side <= 0) + d * (side > 0)], 1)

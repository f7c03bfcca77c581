"""Random regions for tests: modules whose normal form is known to exist."""

from __future__ import annotations

import itertools
import random

import torch
from torch import Tensor, nn

ACTIVATIONS = (nn.ReLU(), nn.Tanh(), nn.LeakyReLU(0.2), nn.Hardtanh(), nn.Softplus(), nn.ReLU6())


class Block(nn.Module):
    """y = skip(x) + c·outer(φ(inner(x))), or without skip; odd geometries, scalings and groups."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = random.Random(seed)
        torch.manual_seed(seed)
        self.axes = rng.choice((0, 1, 2))
        channels, hidden = rng.randint(1, 3), rng.randint(1, 4)
        self.phi = rng.choice(ACTIVATIONS)
        self.factor = rng.choice((1.0, -1.0, 0.5, 3.0))
        self.circular = False
        self.skip = rng.choice(("none", "same", "same", "map"))
        if self.axes == 0:
            self.shape = (1, channels)
            self.inner, self.outer = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
            self.aside = nn.Linear(channels, channels)
            return
        size = rng.randint(3, 6)
        self.shape = (1, channels, *(size + axis for axis in range(self.axes)))
        conv = (nn.Conv1d, nn.Conv2d)[self.axes - 1]
        spread = (nn.ConvTranspose1d, nn.ConvTranspose2d)[self.axes - 1]
        self.circular = circular = rng.choice((False, False, True))
        mode = "circular" if circular else "zeros"
        kind = rng.choice(("same", "same", "stride", "back"))
        k = rng.choice((1, 3)) if circular else rng.choice((1, 2, 3, 5))
        pad = (k - 1) // 2
        if kind == "same" or (circular and kind == "back"):
            k, pad = k | 1, (k | 1) // 2
            self.inner = conv(channels, hidden, k, padding=pad, padding_mode=mode)
            self.outer = conv(hidden, channels, 3, padding=1, padding_mode=mode)
            self.aside = conv(channels, channels, 1)
        elif kind == "stride":
            stride = 1 if circular else 2
            self.inner = conv(channels, hidden, 3, stride, padding=1, padding_mode=mode)
            self.outer = conv(hidden, channels, 3, padding=1, padding_mode=mode)
            self.aside = conv(channels, channels, 1, stride)
            self.skip = "map" if self.skip == "same" else self.skip
        else:
            self.inner = conv(channels, hidden, 3, 2, padding=1)
            extra = tuple((n - 1) % 2 for n in self.shape[2:])
            self.outer = spread(hidden, channels, 3, 2, padding=1, output_padding=extra)
            self.aside = conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The block."""
        y = self.factor * self.outer(self.phi(self.inner(x)))
        if self.skip == "none":
            return y
        return y + (x if self.skip == "same" else self.aside(x))


def dense_of(wires) -> dict[tuple[int, int], Tensor]:
    """For each (target, atom) of a normal form the dense matrix its terms stand for, by brute force."""
    found = {}
    values = [*(h.pre for h in wires.hidden), wires.output]
    for to, value in enumerate(values):
        for term in value.terms:
            shape = wires.shape_of(term.atom)
            matrix = term_matrix(term, shape, value.shape, wires.axes)
            found[to, term.atom] = found.get((to, term.atom), 0) + matrix
    return found


def term_matrix(term, source, target, axes) -> Tensor:
    """One term as a matrix (cells of the target, cells of the source), cell by cell."""
    channel = 1 if axes else len(source) - 1
    taps, offsets = term.matrices(), term.offsets(axes).tolist()
    stride = term.map.stride if term.map is not None else (1,) * axes
    writes, circular = (term.map.writes, term.map.circular) if term.map is not None else (False, False)
    image, out = (source[2:], target[2:]) if axes else ((), ())
    matrix = torch.zeros(target[channel], *out, source[channel], *image, dtype=torch.float64)
    grid = image if writes else out
    for cell in itertools.product(*(range(n) for n in grid)):
        for offset, tap in zip(offsets, taps, strict=True):
            other = [s * c + o for s, c, o in zip(stride, cell, offset, strict=True)]
            limit = out if writes else image
            if circular:
                other = [c % n for c, n in zip(other, limit, strict=True)]
            if all(0 <= c < n for c, n in zip(other, limit, strict=True)):
                to, at = (other, cell) if writes else (cell, other)
                matrix[(slice(None), *to, slice(None), *at)] += tap
    rows = target[channel]
    for n in out:
        rows *= n
    return matrix.reshape(rows, -1)

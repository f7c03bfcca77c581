"""Ways to spoil a weight of a block: by a bit, by a sign, by its rank, by its size."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from lipschitz_nets import Weights
from torch import Tensor

__all__ = ["SPOILT", "biases", "spoilt"]

Spoil = Callable[[Tensor, random.Random], Tensor]


def _entry(w: Tensor, rng: random.Random, change: Callable[[Tensor], Tensor]) -> Tensor:
    flat = w.flatten()
    place = rng.randrange(len(flat))
    flat[place] = change(flat[place])
    return flat.reshape(w.shape)


def _rows(w: Tensor, rng: random.Random, change: Callable[[Tensor], Tensor | float]) -> Tensor:
    """Some rows (at least one) changed."""
    for row in rng.sample(range(len(w)), rng.randint(1, max(1, len(w) // 2))):
        w[row] = change(w[row].clone())
    return w


def _rank_one(w: Tensor, rng: random.Random) -> Tensor:
    del rng
    flat = w.reshape(len(w), -1)
    return torch.outer(flat[:, 0], flat[0]).reshape(w.shape)


def _transposed(w: Tensor, rng: random.Random) -> Tensor:
    """Of two axes of equal length, or all entries in another order."""
    pairs = [(i, j) for i in range(w.dim()) for j in range(i) if w.shape[i] == w.shape[j] > 1]
    return w.transpose(*rng.choice(pairs)) if pairs else w.flatten().roll(1).reshape(w.shape)


def _scaled(*factors: float) -> Spoil:
    return lambda w, rng: w * rng.choice(factors)


SPOILT: dict[str, Spoil] = {
    "one ulp": lambda w, rng: _entry(w, rng, lambda x: x.nextafter(torch.full_like(x, torch.inf))),
    "one float32 ulp": lambda w, rng: _entry(w, rng, lambda x: x * (1 + 2.0**-23)),
    "float32": lambda w, _: w.float().double(),
    "one changed": lambda w, rng: _entry(w, rng, lambda x: x + rng.gauss(0, 1)),
    "one huge": lambda w, rng: _entry(w, rng, lambda x: x * 1e12),
    "transposed": _transposed,
    "shifted": lambda w, rng: w.roll(1, rng.randrange(w.dim())),
    "flipped": lambda w, rng: w.flip(rng.randrange(w.dim())),
    "a thousandth": _scaled(1 + 1e-3, 1 - 1e-3),
    "a billionth": _scaled(1 + 1e-9, 1 - 1e-9),
    "larger": _scaled(1.2, 2.0, 10.0),
    "negative": _scaled(-1.0, -0.5),
    "negative rows": lambda w, rng: _rows(w, rng, torch.neg),
    "rows of zeros": lambda w, rng: _rows(w, rng, torch.zeros_like),
    "zeros": lambda w, _: torch.zeros_like(w),
    "huge": _scaled(1e30, 1e100),
    "tiny": _scaled(1e-30, 1e-100),
    "denormal": _scaled(1e-308, 1e-310, 1e-320),
    "denormal rows": lambda w, rng: _rows(w, rng, lambda row: row * 1e-310),
    "huge rows": lambda w, rng: _rows(w, rng, lambda row: row * 1e15),
    "equal rows": lambda w, _: w[:1].expand(w.shape),
    "rank one": _rank_one,
    "ties": lambda w, _: w.sign() * w.abs().mean(),
    "near ties": lambda w, _: w.sign() + 1e-9 * w,
}
BALANCED = ("balanced", "balanced rows")
"""One weight times what another is divided by."""


def spoilt(weights: Weights, name: str, rng: random.Random) -> Weights:
    """The same with one weight (or two, "balanced") replaced."""
    names = [key for key in weights if key != "b" or rng.random() < 0.1]
    made = {key: value.clone() for key, value in weights.items()}
    if name in BALANCED:
        first, second = rng.choice(names), rng.choice(names)
        factor = rng.choice((1e3, 1e-3, 1e30, 1e-30, -1.0))
        made[first][: len(made[first]) if name == "balanced" else 1] *= factor
        made[second][: len(made[second]) if name == "balanced" else 1] /= factor
        return made
    chosen = rng.choice(names)
    made[chosen] = SPOILT[name](made[chosen], rng).clone()
    return made


def biases(g: torch.Generator, rng: random.Random, size: int) -> Tensor:
    """Every unit active, at random on or off, where smooth activations are steepest, near a kink, or any."""
    drawn = torch.randn(size, generator=g, dtype=torch.float64)
    return rng.choice(
        (
            torch.full_like(drawn, 100.0),
            torch.full_like(drawn, 100.0),
            100.0 * drawn.sign(),
            1.4142135 * drawn.sign(),
            2.39936 * drawn.sign(),
            0.5 * drawn.sign(),
            1e-9 * drawn,
            0.3 * drawn,
        )
    )

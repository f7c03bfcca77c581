"""Networks of every 1-Lipschitz family, and single layers, with what their constants are at most."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import lipschitz_nets as blocks
from lipschitz_convs import (
    GroupSort,
    Householder,
    MaxMin,
    aol_conv,
    aol_dense,
    bcop,
    cayley,
    eco,
    lot,
)
from lipschitz_nets import SOC_SPELLINGS as SERIES
from lipschitz_nets import Layer
from torch import nn

__all__ = ["Net", "layers", "networks"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Net:
    """A network, the shape it takes, and what its constant is at most in exact arithmetic.

    `plain`: the gains of its layers say so already.  `isometry`: all of its singular values are 1 wherever
    it is smooth.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: Shape
    most: float = 1.0
    plain: bool = False
    isometry: bool = False


def _images(conv: Callable[..., nn.Module], activation: Callable[[], nn.Module], steps: int) -> nn.Module:
    """Two convolutions at 6×6, one at 3×3 behind space-to-depth, and a dense end."""
    return nn.Sequential(
        conv(1, channels=4, image=6, steps=steps),
        activation(),
        conv(2, channels=4, image=6, steps=steps),
        activation(),
        nn.PixelUnshuffle(2),
        conv(3, channels=16, image=3, steps=steps),
        activation(),
        nn.Flatten(),
        aol_dense(4, size=144, out=8, steps=steps),
        aol_dense(5, size=8, out=3, steps=steps),
    ).eval()


def _square_aol(seed: int, *, channels: int, image: int, steps: int) -> Layer:
    return aol_conv(seed, channels=channels, out=channels, image=image, steps=steps)


def _square_lot(seed: int, *, channels: int, image: int, steps: int) -> Layer:
    return lot(seed, channels=channels, out=channels, image=image, spelling="pairs", steps=steps)


def _square_cayley(seed: int, *, channels: int, image: int, steps: int) -> Layer:
    return cayley(seed, channels=channels, out=channels, image=image, spelling="pairs", steps=steps)


def _cpl(seed: int, *, channels: int, image: int, steps: int) -> Layer:
    return blocks.cpl_conv(seed, channels=channels, hidden=5, image=image, steps=steps)


def _sll(seed: int, *, channels: int, image: int, steps: int) -> Layer:
    return blocks.sll_conv(seed, channels=channels, hidden=5, image=image, steps=steps)


def _soc(seed: int, *, channels: int, image: int, steps: int) -> Layer:
    return blocks.soc_conv(seed, terms=8, channels=channels, image=image, steps=steps)


def _sandwiches(steps: int) -> nn.Module:
    pairs = enumerate(itertools.pairwise((6, 8, 7, 5)))
    layers = [blocks.sandwich(i, size=n, out=m, steps=steps) for i, (n, m) in pairs]
    return nn.Sequential(*layers, aol_dense(9, size=5, out=3, steps=steps)).eval()


def networks(steps: int = 0) -> tuple[Net, ...]:
    """One small network per family."""
    image, vector = (1, 4, 6, 6), (1, 6)

    def of(conv: Callable[..., nn.Module], activation: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        return lambda: _images(conv, activation, steps)

    return (
        Net("AOL", of(_square_aol, MaxMin), image, plain=True),
        Net("BCOP", of(bcop, GroupSort), image, plain=True),
        Net("Cayley", of(_square_cayley, MaxMin), image, plain=True),
        Net("LOT", of(_square_lot, GroupSort), image, plain=True),
        Net("CPL", of(_cpl, nn.Identity), image),
        Net("SLL", of(_sll, nn.Identity), image),
        Net("SOC", of(_soc, MaxMin), image),
        Net("Sandwich", lambda: _sandwiches(steps), vector),
        Net("residual", lambda: blocks.residual(0, steps=steps), vector, 2.0, plain=True),
        Net("averaged residual", lambda: blocks.residual(0, averaged=True, steps=steps), vector, plain=True),
        Net("dense concatenation", lambda: blocks.dense_block(0, steps=steps), (1, 3, 5, 5), plain=True),
    )


def layers(steps: int = 0) -> tuple[Net, ...]:
    """Single layers, every spelling among them."""
    small, image, vector = (1, 3, 6, 6), (1, 4, 6, 6), (1, 6)

    def net(name: str, make: Callable[..., Layer], shape: Shape, *facts: str, **options: object) -> Net:
        return Net(name, lambda: make(1, steps=steps, **options), shape, **dict.fromkeys(facts, True))

    return (
        *(net(f"CPL, {s}", blocks.cpl_conv, small, spelling=s) for s in blocks.CPL_CONV_SPELLINGS),
        *(net(f"dense CPL, {s}", blocks.cpl_dense, vector, spelling=s) for s in blocks.CPL_DENSE_SPELLINGS),
        net("dense SLL", blocks.sll_dense, vector),
        *(net(f"SLL, scale {s}", blocks.sll_conv, small, scale=s) for s in ("apart", "in the kernel")),
        *(net(f"SOC, {s}", blocks.soc_conv, image, "isometry", spelling=s) for s in SERIES),
        *(
            net(f"dense SOC, {s}", blocks.soc_dense, vector, "isometry", spelling=s)
            for s in blocks.SOC_SPELLINGS
        ),
        net("SOC to more channels", blocks.soc_conv, image, "isometry", out=7),
        net("SOC to fewer channels", blocks.soc_conv, image, out=2),
        net("sandwich", blocks.sandwich, vector),
        net("folded sandwich", blocks.sandwich, vector, folded=True),
        net("dense AOL", aol_dense, vector, "plain"),
        net("AOL", aol_conv, small, "plain"),
        net("circular AOL", aol_conv, small, "plain", mode="circular"),
        *(net(f"BCOP {k}×{k}", bcop, image, "plain", "isometry", kernel=k) for k in (2, 3, 5)),
        net("Cayley", cayley, small, "plain", "isometry"),
        net("Cayley by bmm", cayley, small, "plain", "isometry", spelling="bmm"),
        net("Cayley by pairs", cayley, small, "plain", "isometry", spelling="pairs"),
        net("Cayley to more channels", cayley, small, "plain", "isometry", out=5),
        net("Cayley to fewer channels", cayley, small, "plain", out=2),
        net("Cayley on odd images", cayley, (1, 3, 5, 5), "plain", "isometry", image=5),
        *(net(f"LOT to {n} channels", lot, (1, 3, 5, 5), "plain", out=n) for n in (2, 3, 4)),
        net("LOT by pairs", lot, (1, 3, 5, 5), "plain", spelling="pairs"),
        net("ECO", eco, small, "isometry", "plain"),
        Net("MaxMin", lambda: MaxMin().eval(), image, plain=True, isometry=True),
        Net("GroupSort", lambda: GroupSort().eval(), image, plain=True, isometry=True),
        Net("sort of all channels", lambda: GroupSort(4).eval(), image, plain=True, isometry=True),
        *(
            Net(
                f"Householder, {b}",
                lambda b=b: Householder(1, 4, blend=b).eval(),
                image,
                plain=True,
                isometry=True,
            )
            for b in ("where", "mask")
        ),
    )

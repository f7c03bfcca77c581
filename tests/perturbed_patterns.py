"""The table of patterns: small blocks as their families build them, and what breaks one premise at a time.

convex potential   x − Vᵀ(s·φ(Wx + b)), V = W, s = 2/‖W‖² or the numbers of SLL; dense, 1-D, 2-D
sandwich           √2AᵀΨφ(√2Ψ⁻¹Bx + b)
skew               Σ Aʲx/j!; dense, 2-D
residual           x + Vφ(Wx + b), and with two activations
chains             of dense layers, of convolutions
concatenation      (x, f(x)), and one more on top
linear             sums that share a source, averages behind convolutions
sorting            pairs, groups, all; Householder's reflections
Fourier            matrices between transforms
"""

from __future__ import annotations

import math
import random

import torch
from lipschitz_nets import Weights, map_norm, normal
from perturbed_blocks import (
    FLAT,
    MOVES,
    SQUARE,
    Bend,
    Function,
    Pattern,
    Twist,
    bent,
    channelwise,
    moved,
    same,
    steady,
)
from perturbed_layers import LAYERS
from perturbed_weights import biases
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

__all__ = ["PATTERNS"]

_CONVS = (F.linear, F.conv1d, F.conv2d)


def conv(x: Tensor, w: Tensor, b: Tensor | None = None, **options: object) -> Tensor:
    """A matrix, or a convolution that keeps the image."""
    axes = w.dim() - 2
    return _CONVS[axes](x, w, b, **({"padding": w.shape[-1] // 2, **options} if axes else {}))


def spread(h: Tensor, w: Tensor, **options: object) -> Tensor:
    """Its adjoint."""
    if w.dim() == 2:
        return F.linear(h, w.t())
    options = {"padding": w.shape[-1] // 2, **options}
    return (F.conv_transpose1d, F.conv_transpose2d)[w.dim() - 3](h, w, **options)


def reversed_taps(w: Tensor) -> Tensor:
    """The kernel with which a convolution is the adjoint."""
    return w.transpose(0, 1).flip(tuple(range(2, w.dim())))


def padded(x: Tensor, low: int, high: int, mode: str = "constant") -> Tensor:
    return F.pad(x, (low, high) * (x.dim() - 2), mode=mode)


def cropped(x: Tensor, low: int, high: int) -> Tensor:
    """Without so many cells at the two ends of each axis."""
    for axis in range(2, x.dim()):
        x = x.narrow(axis, low, x.shape[axis] - low - high)
    return x


# Convex potentials and residual blocks


def potential(t: Twist, x: Tensor, p: Weights) -> Tensor:
    """join(x, down(s·φ(up(x))))."""
    up, down = t.parts.get("up", conv), t.parts.get("down", spread)
    h = (t.phi or torch.relu)(t.between(up(t.start(x), p["w"], p["b"])))
    second = p[t.parts.get("second", "w")]
    if t.parts.get("behind", False):
        y = p["s"][0] * down(t.behind(h), second)
    else:
        scaled = t.behind(h * channelwise(p["s"], h))
        y, h = down(scaled, second), scaled if t.parts.get("seen") else h
    return t.end(x, h, t.parts.get("join", torch.sub)(t.beside(x), y))


def _potential_weights(shape: tuple[int, ...], hidden: int, family: str):
    """w, its copy v, b and s, which is 2/‖w‖², or SLL's, or 1 beside another v of norm about 1."""
    kernel = (3,) * (len(shape) - 2)

    def weights(g: torch.Generator, rng: random.Random, bend: Bend) -> Weights:
        w = bend("w", normal(g, hidden, shape[1], *kernel))
        b, v = biases(g, rng, hidden), w
        if family == "CPL":
            s = (2 / map_norm(lambda x: conv(x, w), shape[1:]) ** 2).expand(hidden)
        elif family == "SLL":
            q = (0.5 * normal(g, hidden)).exp()
            products = conv(w, w, padding=2) if kernel else w @ w.T
            s = 2 / (products.abs().flatten(2).sum(2) if kernel else products.abs()).mul(q / q[:, None]).sum(
                1
            )
        else:
            w, v = w / w.norm(), bend("v", normal(g, hidden, shape[1], *kernel))
            s, v = torch.ones(hidden, dtype=torch.float64), v * rng.choice((1.0, 3.0, 10.0)) / v.norm()
        return {"w": w, "b": b, "v": v, "s": s}

    return weights


_SPELLINGS = {
    "shared": Twist(keeps=True),
    "copy": Twist(parts={"second": "v"}, keeps=True),
    "plus minus": Twist(parts={"join": lambda x, y: x + (-y), "second": "v"}, keeps=True),
    "branch first": Twist(parts={"join": lambda x, y: -y + x}, keeps=True),
}
_JOINS = {
    "plus": lambda x, y: x + y,
    "twice": lambda x, y: x - y - y,
    "other side": lambda x, y: y - 0.5 * x,
    "turned round": lambda x, y: -1.0 * (y - x),
    "no skip": lambda x, y: -y,  # noqa: ARG005
    "half a skip": lambda x, y: 0.5 * x - y,
    "a large skip": lambda x, y: 1.5 * x - y,
    "side by side": lambda x, y: torch.cat([x, y], 1),
    "larger of both": torch.maximum,
    "without a half": lambda x, y: x - 0.25 * y,
}


def _seen() -> dict[str, Twist]:
    """Factors that cannot be folded into a weight, since something else reads what they scale."""

    def end(x: Tensor, h: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001 - as all of them
        return torch.cat([y.flatten(1), 1e-3 * h.flatten(1)], 1)

    moves = {"seen": same, **{f"seen, {n}": MOVES[n] for n in ("negative", "some negative", "by channels")}}
    return {n: Twist(behind=move, end=end, parts={"seen": True}) for n, move in moves.items()}


def _joined() -> dict[str, Twist]:
    return {f"join {n}": Twist(parts={"join": join, "second": "v"}) for n, join in _JOINS.items()}


def _geometry(shape: tuple[int, ...]) -> dict[str, Twist]:
    """Of the two convolutions: other padding, strides, kernels, and images than those of the norm."""
    axes = len(shape) - 2
    extra = tuple((n - 1) % 2 for n in shape[2:])
    larger = (*shape[:2], *(n + 3 for n in shape[2:]))
    smaller = (*shape[:2], *(2 for _ in shape[2:]))

    def both(up: Function, down: Function) -> Twist:
        return Twist(parts={"up": up, "down": down, "second": "v"})

    def even(w: Tensor) -> Tensor:
        return w[:, :, :2] if axes == 1 else w[:, :, :2, :2]

    def wrapped(mode: str, low: int = 1) -> Function:
        return lambda x, w, b: conv(padded(x, low, 2 - low, mode), w, b, padding=0)

    def wrapped_back(h: Tensor, v: Tensor) -> Tensor:
        return conv(padded(h, 1, 1, "circular"), reversed_taps(v), padding=0)

    def with_options(**o: object) -> Function:
        return lambda x, w, b: conv(x, w, b, **o)

    def back_with(**o: object) -> Function:
        return lambda h, v: spread(h, v, **o)

    return {
        "larger image": Twist(shape=larger),
        "smaller image": Twist(shape=smaller),
        "circular before": both(wrapped("circular"), spread),
        "circular behind": both(conv, wrapped_back),
        "circular": both(wrapped("circular"), wrapped_back),
        "circular, larger image": Twist(parts=both(wrapped("circular"), wrapped_back).parts, shape=larger),
        "reflected": both(wrapped("reflect"), spread),
        "replicated": both(wrapped("replicate"), spread),
        "asymmetric": both(wrapped("constant", 2), spread),
        "asymmetric behind": both(conv, lambda h, v: cropped(spread(h, v, padding=0), 2, 0)),
        "asymmetric circular": both(wrapped("circular", 2), wrapped_back),
        "asymmetric both": both(wrapped("constant", 2), lambda h, v: cropped(spread(h, v, padding=0), 2, 0)),
        "no padding": both(with_options(padding=0), back_with(padding=0)),
        "no padding, moved": both(
            with_options(padding=0), lambda h, v: cropped(spread(padded(h, 2, 0), v, padding=0), 1, 1)
        ),
        "full padding": both(with_options(padding=2), back_with(padding=2)),
        "convolved twice": both(conv, lambda h, v: conv(h, v.transpose(0, 1))),
        "flipped kernel": both(conv, lambda h, v: conv(h, reversed_taps(v))),
        "stride": both(with_options(stride=2), back_with(stride=2, output_padding=extra)),
        "stride, moved": both(
            with_options(stride=2),
            lambda h, v: spread(h, v, stride=2, output_padding=extra).roll(1, -1),
        ),
        "stride, repeated": both(
            with_options(stride=2),
            lambda h, v: spread(F.interpolate(h, scale_factor=2.0), v, padding=1)[
                (..., *(slice(0, n) for n in shape[2:]))
            ],
        ),
        "dilated": both(with_options(dilation=2, padding=2), back_with(dilation=2, padding=2)),
        "dilated before": both(with_options(dilation=2, padding=2), spread),
        "even kernel": both(
            lambda x, w, b: conv(x, even(w), b, padding=1), lambda h, v: spread(h, even(v), padding=1)
        ),
        "even and odd kernel": both(lambda x, w, b: cropped(conv(x, even(w), b, padding=1), 0, 1), spread),
        "groups": both(
            lambda x, w, b: conv(x, w[:, :1], b, groups=2), lambda h, v: spread(h, v[:, :1], groups=2)
        ),
        "groups before": both(lambda x, w, b: conv(x, w[:, :1], b, groups=2), spread),
        "groups of other channels": both(
            lambda x, w, b: conv(x, w[:, :1], b, groups=2), lambda h, v: spread(h, v[:, 1:], groups=2)
        ),
    }


def _potentials() -> list[Pattern]:
    found = []
    for name, family, shape, hidden in (
        ("CPL dense", "CPL", (1, 5), 6),
        ("CPL 1-D", "CPL", (1, 2, 6), 4),
        ("CPL 2-D", "CPL", (1, 2, 3, 4), 4),
        ("SLL dense", "SLL", (1, 5), 6),
        ("SLL 2-D", "SLL", (1, 2, 3, 4), 4),
    ):
        apart = {"scale behind": Twist(parts={"behind": True, "second": "v"}, keeps=True)}
        smooth = {n: Twist(phi=t.phi, parts={"second": "v"}, keeps=True) for n, t in steady().items()}
        spellings = {**_SPELLINGS, **(apart if family == "CPL" else {}), **smooth}
        twists = {
            **bent(),
            **moved("start", "beside", "between", "behind"),
            **FLAT,
            **SQUARE,
            **_joined(),
            **_seen(),
            **(_geometry(shape) if len(shape) > 2 else {}),
            **({} if family == "CPL" else apart),
        }
        fires = frozenset({"convex potential", "sandwich", "semidefinite"})
        weights = _potential_weights(shape, hidden, family)
        found.append(Pattern(name, shape, potential, weights, spellings, twists, fires, 1.0))
    for name, shape in (("residual dense", (1, 5)), ("residual 2-D", (1, 2, 3, 4))):
        spellings = {"plus": Twist(parts={"join": torch.add, "second": "v"}, keeps=True)}
        spellings |= {
            n: Twist(phi=t.phi, parts=spellings["plus"].parts, keeps=True) for n, t in steady().items()
        }
        parts = {"join": torch.add, "second": "v"}
        twists = {
            n: Twist(t.phi, t.start, t.beside, t.between, t.behind, t.end, {**parts, **t.parts}, t.shape)
            for n, t in {
                **bent(),
                **moved("start", "beside", "between", "behind"),
                **FLAT,
                **SQUARE,
                **_joined(),
                **(_geometry(shape) if len(shape) > 2 else {}),
            }.items()
        }
        weights = _potential_weights(shape, 4, "residual")
        fires = frozenset({"semidefinite", "convex potential", "sandwich", "averaged"})
        found.append(Pattern(name, shape, potential, weights, spellings, twists, fires))
    return found


# Sandwich


def sandwich(t: Twist, x: Tensor, p: Weights) -> Tensor:
    u = math.sqrt(2) * (1 / p["d"]) * F.linear(t.start(x), p["m"]) + p["b"]
    h = (t.phi or torch.relu)(t.between(u))
    return t.end(x, h, math.sqrt(2) * F.linear(t.behind(h * p[t.parts.get("second", "d")]), p["a"]))


def folded_sandwich(t: Twist, x: Tensor, p: Weights) -> Tensor:
    w, v = math.sqrt(2) * p["m"] / p["d"][:, None], math.sqrt(2) * p["a"] * p["e"]
    h = (t.phi or torch.relu)(t.between(F.linear(t.start(x), w, p["b"])))
    return t.end(x, h, F.linear(t.behind(h), v))


def _sandwich_weights(g: torch.Generator, rng: random.Random, bend: Bend) -> Weights:
    size, out = 6, 5
    x, y = bend("x", normal(g, out, out)), bend("y", normal(g, size, out))
    z = x - x.T + y.T @ y
    one = torch.eye(out, dtype=torch.float64)
    inverse = torch.linalg.pinv((one + z).nan_to_num(0.0, 0.0, 0.0))
    d = bend("d", normal(g, out)).clamp(-3, 3).exp()
    return {
        "m": (-2 * y @ inverse).T,
        "a": inverse @ (one - z),
        "b": biases(g, rng, out),
        "d": d,
        "e": d,
    }


def _sandwiches() -> list[Pattern]:
    twists = {**bent(), **moved("start", "between", "behind"), **FLAT}
    fires = frozenset({"sandwich", "semidefinite", "averaged"})
    copy = {"copy": Twist(parts={"second": "e"}, keeps=True)}
    skips = {
        "skip added": Twist(end=lambda x, h, y: y + x[:, :5]),  # noqa: ARG005
        "slices added": Twist(end=lambda x, h, y: y[:, 1:] + y[:, :-1]),  # noqa: ARG005
    }
    return [
        Pattern(n, (1, 6), f, _sandwich_weights, {**copy, **steady()}, {**twists, **skips}, fires, 1.0)
        for n, f in (("sandwich apart", sandwich), ("sandwich folded", folded_sandwich))
    ]


# Skew polynomials


def skew(t: Twist, x: Tensor, p: Weights) -> Tensor:
    """Σ Aʲx/j! of 7 terms; step 2 is `between`, step 3 uses a copy of A, step 4 is what `phi` does."""
    maps, factor = t.parts.get("map", conv), t.parts.get("factor", lambda j: 1 / j)

    def step(j: int, z: Tensor) -> Tensor:
        z = t.between(z) if j == 2 else z
        z = (maps if j == t.parts.get("at", 3) else t.parts.get("maps", conv))(z, p["c" if j == 3 else "a"])
        z = t.behind(z) if j == 3 else z
        return factor(j) * ((t.phi or same)(z) if j == 4 else z)

    terms = range(1, t.parts.get("terms", 7))
    if t.parts.get("horner"):
        y = x
        for j in reversed(terms):
            y = t.beside(x) + step(j, y)
        return t.end(x, y, y)
    z, y = t.start(x), t.beside(x)
    for j in terms:
        z = step(j, z)
        y = y + z
    return t.end(x, z, y)


def _skew_weights(shape: tuple[int, ...]):
    kernel = (3,) * (len(shape) - 2)

    def weights(g: torch.Generator, rng: random.Random, bend: Bend) -> Weights:
        k = bend("k", normal(g, shape[1], shape[1], *kernel))
        a = k - reversed_taps(k)
        a = rng.choice((1.0, 0.5)) / map_norm(lambda x: conv(x, a), shape[1:]) * a
        return {"a": a, "c": a}

    return weights


def _skews() -> list[Pattern]:
    def mapped(f: Function, *, everywhere: bool = False, **parts: object) -> Twist:
        return Twist(parts={"map": f, **({"maps": f} if everywhere else {}), **parts})

    def wrapped(mode: str, low: int = 1) -> Function:
        return lambda z, a: conv(padded(z, low, 2 - low, mode), a, padding=0)

    def factors(f) -> Twist:
        return Twist(parts={"factor": f})

    found = []
    for name, shape in (("SOC dense", (1, 6)), ("SOC 2-D", (1, 2, 3, 4))):
        spellings = {"plain": Twist(keeps=True), "horner": Twist(parts={"horner": True}, keeps=True)}
        twists = {
            **{n: t for n, t in bent().items() if n != "none"},
            **moved("start", "beside", "between", "behind"),
            **FLAT,
            **SQUARE,
            "coefficients negative": factors(lambda j: -1 / j),
            "coefficients without j": factors(lambda j: 0.5 + 0 * j),
            "one coefficient": factors(lambda j: 0.9 / j if j == 3 else 1 / j),
            "a coefficient of 0": factors(lambda j: 0.0 if j == 5 else 1 / j),
            "three terms": Twist(parts={"terms": 3}),
            "two terms": Twist(parts={"terms": 2}),
            "horner between": Twist(parts={"horner": True}, between=torch.relu),
            "horner beside": Twist(parts={"horner": True}, beside=lambda x: x.flip(1)),
        }
        if len(shape) > 2:
            twists |= {
                "larger image": Twist(shape=(1, 2, 6, 7)),
                "circular once": mapped(wrapped("circular")),
                "circular": mapped(wrapped("circular"), everywhere=True),
                "reflected": mapped(wrapped("reflect"), everywhere=True),
                "replicated once": mapped(wrapped("replicate")),
                "asymmetric": mapped(wrapped("constant", 2), everywhere=True),
                "asymmetric once": mapped(wrapped("constant", 2)),
                "asymmetric circular": mapped(wrapped("circular", 2), everywhere=True),
                "flipped once": mapped(lambda z, a: conv(z, a.flip(2))),
                "adjoint once": mapped(spread),
                "adjoint": mapped(spread, everywhere=True),
                "dilated once": mapped(lambda z, a: conv(z, a, padding=2, dilation=2)),
                "dilated": mapped(lambda z, a: conv(z, a, padding=2, dilation=2), everywhere=True),
                "transposed image": Twist(parts={"map": lambda z, a: conv(z.mT, a).mT}),
            }
        else:
            twists["adjoint once"] = mapped(spread)
        fires = frozenset({"skew polynomial"})
        found.append(Pattern(name, shape, skew, _skew_weights(shape), spellings, twists, fires, 1.0))
    return found


# Chains, two activations, concatenations


def chain(t: Twist, x: Tensor, p: Weights) -> Tensor:
    phi, depth = t.phi or torch.relu, t.parts.get("depth", 3)
    h = t.behind(phi(t.between(t.parts.get("up", conv)(t.start(x), p["w"], p["b"]))))
    for i in range(2, depth):
        h = phi(t.parts.get("middle", conv)(h, p[f"w{i}"]))
    y = t.parts.get("last", conv)(h, p["v"])
    return t.end(x, h, t.beside(x) + y if t.parts.get("skip") else y)


def _chain_weights(widths: tuple[int, int], kernel: tuple[int, ...]):
    inner, outer = widths

    def weights(g: torch.Generator, rng: random.Random, bend: Bend) -> Weights:
        sizes = {"w": (inner, outer), "w2": (inner, inner), "w3": (inner, inner), "v": (outer, inner)}
        made = {n: bend(n, normal(g, *size, *kernel)) for n, size in sizes.items()}
        # Larger than 1, so that there is something to gain: at a product of gains up to 1 no rule is tried.
        made = {n: rng.choice((2.0, 4.0)) * w / max(float(w.norm()), 1e-300) for n, w in made.items()}
        return {"w": made.pop("w"), "b": biases(g, rng, inner), **made}

    return weights


def _chains() -> list[Pattern]:
    found = []
    for name, shape, widths, skip in (
        ("chain dense", (1, 5), (5, 5), False),
        ("chain 2-D", (1, 2, 3, 4), (3, 2), False),
        ("residual of two", (1, 4), (4, 4), True),
    ):
        axes = len(shape) - 2
        depths = (3,) if skip or axes else (2, 3, 4)
        spellings = {
            f"{d}, {n}": Twist(phi=t.phi, parts={"depth": d, "skip": skip}, keeps=True)
            for d in depths
            for n, t in {"relu": Twist(), **steady()}.items()
        }
        twists = {**bent(), **moved("start", "between", "behind", "beside"), **FLAT, **SQUARE}
        twists["skip from within"] = Twist(end=lambda x, h, y: y + h.narrow(1, 0, y.shape[1]))  # noqa: ARG005
        for n, f in {
            "adjoint in the middle": spread,
            **(
                {
                    "circular in the middle": lambda h, w: conv(padded(h, 1, 1, "circular"), w, padding=0),
                    "moved in the middle": lambda h, w: conv(padded(h, 2, 0), w, padding=0),
                    "no padding": lambda h, w: conv(h, w, padding=0),
                    "reflected": lambda h, w: conv(padded(h, 1, 1, "reflect"), w, padding=0),
                    "full padding": lambda h, w: conv(h, w, padding=2),
                    "stride": lambda h, w: conv(h, w, stride=2),
                    "stride and back": lambda h, w: spread(
                        conv(h, w, stride=2), w, stride=2, output_padding=(0, 1)
                    ),
                    "dilated": lambda h, w: conv(h, w, dilation=2, padding=2),
                    "even kernel": lambda h, w: conv(h, w[:, :, :2, :2], padding=1),
                    "pooled": lambda h, w: F.avg_pool2d(conv(h, w), 2),
                    "largest": lambda h, w: F.max_pool2d(conv(h, w), 2, 1),
                    "depthwise": lambda h, w: conv(h, w[:, :1], groups=3),
                }
                if axes
                else {}
            ),
        }.items():
            twists[n] = Twist(parts={"middle": f})
        parts = {"depth": 3, "skip": skip}
        twists = {
            n: Twist(t.phi, t.start, t.beside, t.between, t.behind, t.end, {**parts, **t.parts}, t.shape)
            for n, t in twists.items()
        }
        fires = frozenset({"semidefinite", "averaged", "sandwich"})
        weights = _chain_weights(widths, (3,) * axes)
        found.append(Pattern(name, shape, chain, weights, spellings, twists, fires))
    return found


def concatenation(t: Twist, x: Tensor, p: Weights) -> Tensor:
    phi, up = t.phi or torch.relu, t.parts.get("up", conv)
    h = t.behind(phi(t.between(up(t.start(x), p["w"], p["b"]))))
    y = t.parts.get("join", torch.cat)([t.beside(x), h], 1)
    if t.parts.get("two"):
        return t.end(x, h, math.sqrt(0.5) * torch.cat([y, phi(conv(y, p["u"]))], 1))
    # A rule sees a concatenation where paths meet behind it.
    return t.end(x, h, x + conv(y, p["v"]))


def _concatenation_weights(g: torch.Generator, rng: random.Random, bend: Bend) -> Weights:
    w, v, u = (bend(n, normal(g, 2, size, 3)) for n, size in (("w", 2), ("v", 4), ("u", 4)))
    return {
        "w": w / max(float(w.norm()), 1e-300),
        "b": biases(g, rng, 2),
        "v": rng.choice((0.3, 1.0)) * v / max(float(v.norm()), 1e-300),
        "u": rng.choice((0.3, 1.0)) * u / max(float(u.norm()), 1e-300),
    }


def _concatenations() -> list[Pattern]:
    spellings = {"relu": Twist(keeps=True), **steady()}
    twists = {
        **bent(),
        **moved("start", "beside", "between", "behind"),
        **FLAT,
        "two": Twist(parts={"two": True}),
        "other order": Twist(parts={"join": lambda xs, d: torch.cat(xs[::-1], d)}),
        "stacked": Twist(parts={"join": lambda xs, d: torch.stack(xs, d + 1).flatten(d, d + 1)}),
        "sum in between": Twist(parts={"join": lambda xs, d: torch.cat([xs[0] + xs[1], xs[1]], d)}),
        "input twice": Twist(parts={"join": lambda xs, d: torch.cat([xs[0], xs[0]], d)}),
        "overlap": Twist(parts={"join": lambda xs, d: torch.cat([xs[0], xs[1]], d)[:, [0, 1, 1, 2]]}),
        "other axis": Twist(
            parts={"join": lambda xs, d: torch.cat([torch.cat(xs, d + 1)[:, :, :5], xs[1]], d)}
        ),
        "with a constant": Twist(
            parts={"join": lambda xs, d: torch.cat([xs[0], torch.ones_like(xs[1][:, :1]), xs[1][:, :1]], d)}
        ),
        "larger image": Twist(shape=(1, 2, 8)),
        "circular": Twist(parts={"up": lambda x, w, b: conv(padded(x, 1, 1, "circular"), w, b, padding=0)}),
        "adjoint": Twist(parts={"up": lambda x, w, b: spread(x, w) + channelwise(b, x)}),
    }
    shape, fires = (1, 2, 5), frozenset({"semidefinite"})
    return [Pattern("concatenation", shape, concatenation, _concatenation_weights, spellings, twists, fires)]


def linear(t: Twist, x: Tensor, p: Weights) -> Tensor:
    """Joins conv(x, w) and conv(x, v), and averages."""
    h = t.behind((t.phi or same)(t.between(conv(x, p["w"], p["b"]))))
    y = t.parts.get("join", torch.add)(h, t.parts.get("map", conv)(t.start(x), p["v"]))
    return t.end(x, h, t.parts.get("pool", same)(y) if t.parts.get("pool") else y)


def _linear_weights(g: torch.Generator, rng: random.Random, bend: Bend) -> Weights:
    w, v = (bend(n, normal(g, 2, 2, 3, 3)) for n in "wv")
    return {"w": w, "b": biases(g, rng, 2), "v": v}


def _linears() -> list[Pattern]:
    pools = {
        "sum": None,
        "average pool": lambda y: F.avg_pool2d(y, 2, 1),
        "mean": lambda y: y.mean((2, 3)),
        "adaptive": lambda y: F.adaptive_avg_pool2d(y, 2),
        "resized": lambda y: F.interpolate(y, size=(2, 5), mode="bilinear", align_corners=False),
        "pool with padding": lambda y: F.avg_pool2d(y, 3, 2, 1, count_include_pad=False),
        "sum of channels": lambda y: y.sum(1),
    }
    spellings = {n: Twist(parts={"pool": f}, keeps=True) for n, f in pools.items()}
    twists = {
        **{n: t for n, t in bent().items() if n != "none"},
        **moved("start", "between", "behind"),
        **FLAT,
        **SQUARE,
        "difference": Twist(parts={"join": torch.sub}),
        "side by side": Twist(parts={"join": lambda a, b: torch.cat([a, b], 1), "pool": pools["mean"]}),
        "in a row": Twist(parts={"join": lambda a, b: a + 3 * b.flip(2), "pool": pools["average pool"]}),
        "reflected": Twist(
            parts={"map": lambda x, v: conv(padded(x, 1, 1, "reflect"), v, padding=0), "pool": pools["mean"]}
        ),
        "circular": Twist(parts={"map": lambda x, v: conv(padded(x, 1, 1, "circular"), v, padding=0)}),
        "largest": Twist(parts={"pool": lambda y: F.max_pool2d(y, 2, 1)}),
        "largest of all": Twist(parts={"pool": lambda y: y.amax((2, 3))}),
        "root mean square": Twist(parts={"pool": lambda y: F.lp_pool2d(y, 2, 2)}),
    }
    shape, fires = (1, 2, 3, 4), frozenset({"linear region", "semidefinite"})
    return [Pattern("linear", shape, linear, _linear_weights, spellings, twists, fires)]


PATTERNS: dict[str, Pattern] = {
    pattern.name: pattern
    for pattern in (
        *_potentials(),
        *_sandwiches(),
        *_skews(),
        *_chains(),
        *_concatenations(),
        *_linears(),
        *LAYERS,
    )
}

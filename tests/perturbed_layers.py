"""Patterns that passes recognise: sorting between isometries, reflections, matrices between transforms."""

from __future__ import annotations

import math
import random

import torch
from lipschitz_nets import Weights, normal
from perturbed_blocks import FLAT, SQUARE, Bend, Function, Pattern, Twist, bent, channelwise, moved
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

__all__ = ["LAYERS"]


def _isometry(w: Tensor) -> Tensor:
    q, _ = torch.linalg.qr(w.nan_to_num(0.0, 0.0, 0.0))
    return q


def pointwise(x: Tensor, w: Tensor) -> Tensor:
    """A matrix of the channels."""
    return F.conv2d(x, w[:, :, None, None])


# Sorting


def sorting(t: Twist, x: Tensor, p: Weights) -> Tensor:
    h = (t.phi or _max_min)(t.between(pointwise(t.start(x), p["w"])))
    return t.end(x, h, t.behind(h) if t.parts.get("last") else pointwise(t.behind(h), p["v"]))


def _sorting_weights(g: torch.Generator, rng: random.Random, bend: Bend) -> Weights:
    del rng
    return {"w": _isometry(bend("w", normal(g, 4, 4))), "v": _isometry(bend("v", normal(g, 4, 4)))}


def _max_min(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


def _of(a: Function, b: Function) -> Function:
    def run(x: Tensor) -> Tensor:
        return torch.cat([torch.maximum(a(x), b(x)), torch.minimum(a(x), b(x))], 1)

    return run


def _where(greater: Function) -> Function:
    def run(x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat([torch.where(greater(a, b), a, b), torch.where(greater(a, b), b, a)], 1)

    return run


def _grouped(x: Tensor, axis: int, size: int, **options: bool) -> Tensor:
    return x.unflatten(axis, (-1, size)).sort(axis + 1, **options).values.reshape(x.shape)


def _reduced(x: Tensor, axis: int, other: int) -> Tensor:
    y = x.unflatten(1, (2, 2))
    return torch.cat([y.amax(axis), y.amin(other)], 1)


_SORTS = {
    "halves": _max_min,
    "every other": _of(lambda x: x[:, ::2], lambda x: x[:, 1::2]),
    "flipped half": _of(lambda x: x[:, :2].flip(1), lambda x: x[:, 2:]),
    "picked": _of(lambda x: x[:, [3, 0]], lambda x: x[:, [1, 2]]),
    "minus": lambda x: torch.cat(
        [torch.maximum(x[:, :2], x[:, 2:]), -torch.maximum(-x[:, :2], -x[:, 2:])], 1
    ),
    "reduced": lambda x: _reduced(x, 1, 1),
    "reduced, neighbours": lambda x: _reduced(x, 2, 2),
    "where": _where(torch.gt),
    "where not less": _where(torch.ge),
    "neighbours": lambda x: _grouped(x, 1, 2),
    "all": lambda x: x.sort(1).values,
    "all, descending": lambda x: x.sort(1, descending=True).values,
    "rows of the image": lambda x: x.sort(2).values,
    "columns in pairs": lambda x: _grouped(x, 3, 2, descending=True),
    "whole": lambda x: x.flatten(1).sort(1).values.reshape(x.shape),
}
_UNSORTED = {
    "overlap": _of(lambda x: x[:, :3], lambda x: x[:, 1:]),
    "overlap by one": _of(lambda x: x[:, :2], lambda x: x[:, 1:3]),
    "copies": _of(lambda x: x[:, [0, 0]], lambda x: x[:, [1, 2]]),
    "itself": _of(lambda x: x, lambda x: x),
    "itself, moved": _of(lambda x: x, lambda x: x.roll(1, 1)),
    "itself, flipped image": _of(lambda x: x, lambda x: x.flip(3)),
    "broadcast": _of(lambda x: x[:, :1], lambda x: x[:, 1:]),
    "a tripled half": _of(lambda x: x[:, :2], lambda x: 3 * x[:, 2:]),
    "a constant": _of(lambda x: x, lambda x: torch.full_like(x, 0.1)),
    "two maxima": lambda x: torch.cat([torch.maximum(x[:, :2], x[:, 2:])] * 2, 1),
    "other pairs": lambda x: torch.cat(
        [torch.maximum(x[:, :2], x[:, 2:]), torch.minimum(x[:, :2], x[:, 2:].flip(1))], 1
    ),
    "other slices": lambda x: torch.cat(
        [torch.maximum(x[:, :2], x[:, 2:]), torch.minimum(x[:, ::2], x[:, 1::2])], 1
    ),
    "other axes": lambda x: _reduced(x, 1, 2),
    "axis of the image": lambda x: torch.cat([x.amax(2, keepdim=True), x.amin(3, keepdim=True).mT], 2),
    "minus the maximum": lambda x: torch.cat(
        [torch.maximum(x[:, :2], x[:, 2:]), -torch.maximum(x[:, :2], x[:, 2:])], 1
    ),
    "minus half a maximum": lambda x: torch.cat(
        [torch.maximum(x[:, :2], x[:, 2:]), -torch.maximum(-x[:, :2], 0.5 - x[:, 2:])], 1
    ),
    "minus a multiple": lambda x: torch.cat(
        [torch.maximum(x[:, :2], x[:, 2:]), -2 * torch.maximum(-x[:, :2], -x[:, 2:])], 1
    ),
    "three parts": lambda x: torch.cat([_max_min(x), x[:, :1]], 1),
    "sorted twice": lambda x: torch.cat([x.sort(1).values, x.sort(1).values[:, :1]], 1),
    "sorted and kept": lambda x: torch.cat([x.sort(1).values, x], 1),
    "sorted copies": lambda x: torch.cat([x, x], 1).sort(1).values,
    "sorted indices": lambda x: x.sort(1).indices.to(x.dtype) * x,
    "largest three": lambda x: x.topk(3, 1).values,
    "where, a jump": _where(lambda a, b: a > b + 0.1),
    "where, another line": _where(lambda a, b: a > 2 * b),
    "where, kept": lambda x: torch.where(x > 0, x, x.flip(1)),
    "where, doubled": lambda x: torch.where(x > 0, 2 * x, 0.5 * x),
    "where, two sides": lambda x: torch.cat(
        [
            torch.where(x[:, :2] > x[:, 2:], x[:, :2], x[:, 2:]),
            torch.where(x[:, :2] > 0, x[:, 2:], x[:, :2]),
        ],
        1,
    ),
}


def _sortings() -> list[Pattern]:
    spellings = {n: Twist(phi=f, keeps=True) for n, f in _SORTS.items()}
    twists = {
        n: Twist(phi=f, parts={"last": True})  # of other channels than four
        for n, f in _UNSORTED.items()
    }
    twists |= {**moved("start", "between", "behind"), **FLAT, **SQUARE}
    fires = frozenset({"max_min", "half_planes", "sort"})
    return [Pattern("sorting pairs", (1, 4, 2, 2), sorting, _sorting_weights, spellings, twists, fires, 1.0)]


# Reflections


def reflected(t: Twist, x: Tensor, p: Weights) -> Tensor:
    """Householder's activation on pairs of the two halves."""
    theta = channelwise(p["theta"], x)
    a, b = t.between(pointwise(t.start(x), p["w"])).chunk(2, 1)
    half = t.parts.get("half", lambda angle: angle / 2)(theta)
    side = t.parts.get("side", lambda s, a, b: s)(a * torch.sin(half) - b * torch.cos(half), a, b)  # noqa: ARG005
    c = a * torch.cos(theta) + b * torch.sin(theta)
    d = a * torch.sin(theta) - b * torch.cos(theta)
    h = t.behind(t.parts.get("blend", _chosen)(side, a, b, c, d))
    return t.end(x, h, h)


def _chosen(side: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.cat([torch.where(side <= 0, a, c), torch.where(side <= 0, b, d)], 1)


def _masked(side: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.cat([a * (side <= 0) + c * (side > 0), b * (side <= 0) + d * (side > 0)], 1)


def _reflected_weights(g: torch.Generator, rng: random.Random, bend: Bend) -> Weights:
    del rng
    theta = (0.5 * math.pi + normal(g, 2)).float().double()
    return {"theta": theta, "w": _isometry(bend("w", normal(g, 4, 4)))}


def _reflections() -> list[Pattern]:
    def blends(f: Function) -> Twist:
        return Twist(parts={"blend": f})

    spellings = {"where": Twist(keeps=True), "masks": Twist(parts={"blend": _masked}, keeps=True)}
    twists = {
        **moved("start", "between", "behind"),
        **FLAT,
        **SQUARE,
        "whole angle": Twist(parts={"half": lambda angle: angle}),
        "angle off": Twist(parts={"half": lambda angle: angle / 2 + 1e-3}),
        "angle a hair off": Twist(parts={"half": lambda angle: angle / 2 + 1e-12}),
        "angle moved": Twist(parts={"half": lambda angle: angle.flip(0) / 2}),
        "angle and a half turn": Twist(parts={"half": lambda angle: angle / 2 + math.pi}),
        "side of a": Twist(parts={"side": lambda s, a, b: a}),  # noqa: ARG005
        "side shifted": Twist(parts={"side": lambda s, a, b: s - 0.1}),  # noqa: ARG005
        "side tilted": Twist(parts={"side": lambda s, a, b: s + 1e-2 * b}),  # noqa: ARG005
        "side negative": Twist(parts={"side": lambda s, a, b: -s}),  # noqa: ARG005
        "side bent": Twist(parts={"side": lambda s, a, b: torch.tanh(s)}),  # noqa: ARG005
        "other sign": blends(lambda s, a, b, c, d: _chosen(s, a, b, -c, -d)),
        "one other sign": blends(lambda s, a, b, c, d: _chosen(s, a, b, c, -d)),
        "pieces exchanged": blends(lambda s, a, b, c, d: _chosen(s, b, a, c, d)),
        "pieces the other way": blends(lambda s, a, b, c, d: _chosen(s, c, d, a, b)),
        "one piece doubled": blends(lambda s, a, b, c, d: _chosen(s, a, b, 2 * c, 2 * d)),
        "both doubled": blends(lambda s, a, b, c, d: _chosen(s, 2 * a, 2 * b, 2 * c, 2 * d)),
        "offset": blends(lambda s, a, b, c, d: _chosen(s, a, b, c + 1, d)),
        "pieces moved": blends(lambda s, a, b, c, d: _chosen(s, a, b.flip(1), c, d)),
        "piece of a piece": blends(lambda s, a, b, c, d: _chosen(s, a, b, c, a)),  # noqa: ARG005
        "one of them only": blends(lambda s, a, b, c, d: torch.cat([torch.where(s <= 0, a, c), b, d], 1)),
        "bent pieces": blends(lambda s, a, b, c, d: _chosen(s, a.relu(), b, c.relu(), d)),
        "masks that overlap": blends(
            lambda s, a, b, c, d: torch.cat(
                [a * (s <= 0.1) + c * (s > -0.1), b * (s <= 0.1) + d * (s > -0.1)], 1
            )
        ),
    }
    fires = frozenset({"half_planes"})
    made = Pattern(
        "sorting reflections", (1, 4, 2, 2), reflected, _reflected_weights, spellings, twists, fires, 1.0
    )
    return [made]


# Matrices between transforms


def half(t: Twist, x: Tensor, p: Weights) -> Tensor:
    """irfft2(Q · rfft2(x))."""
    ask = t.parts.get
    norm, back, size = ask("norm"), ask("back", ask("norm")), ask("size", (3, 4))
    q = ask("q", lambda q: q)(torch.complex(p["re"], p["im"]))
    z = ask("forward", torch.fft.rfft2)(t.start(x), norm=norm)
    if ask("real"):
        a, b = torch.view_as_real(z).unbind(-1)
        re, im = q.real, q.imag
        y = torch.complex(_at_each(re, a) - _at_each(im, b), _at_each(re, b) + _at_each(im, a))
    else:
        y = _at_each(q, z)
    y = ask("spectrum", lambda y, z: y)(y, z)  # noqa: ARG005
    h = ask("inverse", lambda y: torch.fft.irfft2(y, s=size, norm=back))(y)
    h = t.behind(t.phi(h) if t.phi else h)
    return t.end(x, h, h)


def _at_each(q: Tensor, z: Tensor) -> Tensor:
    return torch.einsum("hwoi,bihw->bohw", q, z)


def _unitary(g: torch.Generator, bend: Bend, *shape: int) -> Tensor:
    re, im = (bend(n, normal(g, *shape)) for n in ("re", "im"))
    q, _ = torch.linalg.qr(torch.complex(re, im).nan_to_num(0.0, 0.0, 0.0))
    return q


def _half_weights(g: torch.Generator, rng: random.Random, bend: Bend) -> Weights:
    del rng
    q = _unitary(g, bend, 3, 3, 2, 2)
    return {"re": q.real.clone(), "im": q.imag.clone()}


def whole(t: Twist, x: Tensor, p: Weights) -> Tensor:
    """The real part of ifft2(Q · fft2(x)), of the padded image, cropped."""
    ask = t.parts.get
    low, high = ask("pad", (1, 1))
    q = ask("q", lambda q: q)(torch.complex(p["re"], p["im"]))
    z = torch.fft.fft2(F.pad(t.start(x), (low, high) * 2, mode=ask("mode", "constant")), norm=ask("norm"))
    y = ask("spectrum", lambda y, z: y)(_at_each(q, z), z)  # noqa: ARG005
    y = ask("part", torch.real)(torch.fft.ifft2(y, norm=ask("back", ask("norm"))))
    low, high = ask("crop", (1, 1))
    h = y[:, :, low : y.shape[2] - high, low : y.shape[3] - high]
    h = t.behind(t.phi(h) if t.phi else h)
    return t.end(x, h, h)


def _whole_weights(g: torch.Generator, rng: random.Random, bend: Bend) -> Weights:
    del rng
    q = _unitary(g, bend, 4, 4, 2, 2)
    return {"re": q.real.clone(), "im": q.imag.clone()}


def _mirrored(y: Tensor) -> Tensor:
    """A whole spectrum of its half, by hand."""
    whole = torch.cat([y, y[..., 1:2].flip(-1).conj()], -1)
    return torch.fft.ifft2(whole).real


def _spectra() -> dict[str, Twist]:
    """What may happen in a spectrum."""
    return {
        name: Twist(parts={"spectrum": f})
        for name, f in {
            "conjugate": lambda y, z: y.conj(),  # noqa: ARG005
            "spectrum rolled": lambda y, z: y.roll(1, -1),  # noqa: ARG005
            "spectrum flipped": lambda y, z: y.flip(2),  # noqa: ARG005
            "channels rolled": lambda y, z: y.roll(1, 1),  # noqa: ARG005
            "spectrum transposed": lambda y, z: y[:, :, :3, :3].mT,  # noqa: ARG005
            "a frequency copied": lambda y, z: torch.cat([y[..., :1], y[..., :1], y[..., 2:]], -1),  # noqa: ARG005
            "a frequency dropped": lambda y, z: y[..., :-1],  # noqa: ARG005
            "a frequency appended": lambda y, z: F.pad(y, (0, 1)),  # noqa: ARG005
            "skip in the spectrum": lambda y, z: y + z,
            "moved skip in the spectrum": lambda y, z: y + 0.5 * z.roll(1, 2),
            "multiplied by i": lambda y, z: y * 1j,  # noqa: ARG005
            "real parts": lambda y, z: torch.complex(y.real, 0 * y.real),  # noqa: ARG005
            "parts exchanged": lambda y, z: torch.complex(y.imag, y.real),  # noqa: ARG005
            "imaginary parts doubled": lambda y, z: torch.complex(y.real, 2 * y.imag),  # noqa: ARG005
            "bent parts": lambda y, z: torch.complex(y.real.relu(), y.imag),  # noqa: ARG005
            "a constant": lambda y, z: y + 1.0,  # noqa: ARG005
            "scaled": lambda y, z: 3.0 * y,  # noqa: ARG005
        }.items()
    }


def _matrices() -> dict[str, Twist]:
    """Changes of the matrices."""
    return {
        name: Twist(parts={"q": f})
        for name, f in {
            "other matrices": lambda q: q.roll(1, 0),
            "conjugate matrices": torch.conj,
            "transposed matrices": lambda q: q.mT,
            "larger at one": lambda q: torch.cat([q[:1] * 2, q[1:]]),
            "larger at the last": lambda q: torch.cat([q[:, :-1], q[:, -1:] * 1.7], 1),
            "fewer rows": lambda q: q[..., :1, :],
            "rows twice": lambda q: torch.cat([q, q[..., :1, :]], -2),
            "low pass": lambda q: torch.cat([q[:, :1], 0 * q[:, 1:]], 1),
        }.items()
    }


def _transforms() -> list[Pattern]:
    def parts(**given: object) -> Twist:
        return Twist(parts=given)

    halves = {
        "plain": Twist(keeps=True),
        "ortho": Twist(parts={"norm": "ortho"}, keeps=True),
        "forward": Twist(parts={"norm": "forward"}, keeps=True),
        "real arithmetic": Twist(parts={"real": True}, keeps=True),
        "no last size": Twist(parts={"inverse": torch.fft.irfft2}, keeps=True, shape=(1, 2, 3, 4)),
    }
    common = {
        **bent(),
        **moved("start", "behind"),
        **FLAT,
        **_spectra(),
        **_matrices(),
        "norm forward, then ortho": parts(norm="forward", back="ortho"),
        "norm ortho, then forward": parts(norm="ortho", back="forward"),
        "norm backward, then forward": parts(norm="backward", back="forward"),
        "norm forward, then backward": parts(norm="forward", back="backward"),
    }
    half_twists = {
        **common,
        **SQUARE,
        **{f"size {s}": parts(size=s) for s in ((3, 5), (3, 3), (4, 4), (2, 4), (6, 8), (3, 2))},
        "by hand": parts(inverse=_mirrored),
        "real part of a whole": parts(inverse=lambda y: torch.fft.ifft2(y).real),
        "imaginary part of a whole": parts(inverse=lambda y: torch.fft.ifft2(y).imag),
        "size of a whole": parts(inverse=lambda y: torch.fft.ifft2(y, s=(3, 4)).real),
        "hermitian": parts(inverse=lambda y: torch.fft.hfft2(y, s=(3, 4), norm="forward")),
        "other axes back": parts(inverse=lambda y: torch.fft.irfft2(y, s=(3, 4), dim=(3, 2))),
        "one axis back": parts(inverse=lambda y: torch.fft.irfft(y, n=4).flatten(1)),
        "other axes before": parts(
            forward=lambda x, norm: torch.fft.rfft2(x, dim=(3, 2), norm=norm),
            q=lambda q: torch.cat([q, q[:, :1]], 1)[:2],
        ),
        "whole before": parts(forward=lambda x, norm: torch.fft.fft2(x, norm=norm)[..., :3]),
        "cut before": parts(forward=lambda x, norm: torch.fft.rfft2(x, s=(3, 5), norm=norm), size=(3, 5)),
        "larger before": parts(forward=lambda x, norm: torch.fft.rfft2(x, s=(3, 5), norm=norm)),
        "absolute values": parts(spectrum=lambda y, z: torch.complex(y.real.abs(), y.imag)),  # noqa: ARG005
        "parts are seen": Twist(
            parts={"inverse": lambda y: torch.cat([torch.view_as_real(y).flatten(1)], 1)}
        ),
    }
    whole_twists = {
        **common,
        **SQUARE,
        "imaginary part": parts(part=torch.imag),
        "both parts": parts(part=lambda y: torch.cat([y.real, y.imag], 1)),
        "sum of parts": parts(part=lambda y: y.real + y.imag),
        "circular padding": parts(mode="circular"),
        "reflected": parts(mode="reflect"),
        "asymmetric": parts(pad=(2, 0)),
        "no cropping": parts(crop=(0, 0)),
        "cropped elsewhere": parts(crop=(0, 2)),
    }
    fires, shape = frozenset({"frequency_blocks"}), (1, 2, 3, 4)
    square = (1, 2, 2, 2)
    return [
        Pattern("Fourier halves", shape, half, _half_weights, halves, half_twists, fires, 1.0),
        Pattern(
            "Fourier wholes",
            square,
            whole,
            _whole_weights,
            {n: t for n, t in halves.items() if n in ("plain", "ortho", "forward")},
            whole_twists,
            fires,
            1.0,
        ),
    ]


LAYERS = (*_sortings(), *_reflections(), *_transforms())

"""Random maps in bulk, against the dense singular values: every method, every estimate, every profile."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import torch
from families import FAMILIES, normal
from oracles import spectral_norm
from strategies import random_convolution

from lipaudit.errors import NotCovered
from lipaudit.spectral import ESTIMATES, METHODS, PROFILES, Dense, prove
from lipaudit.spectral.method import prepare

ORACLE_ERROR = 1e-12
"""Relative error of the dense SVD itself (and of summing wrapped entries)."""
SCALES = (1e-30, 1e-15, 1e-5, 1.0, 1.0, 1e5, 1e15, 1e30)
PROPOSALS = (0.0, 0.0, 1 - 1e-9, 1.0, 1 + 1e-13, 1.3)
"""Times the truth: a method may be told to start anywhere."""
TIGHT = {"fast": 1 + 1e-4, "balanced": 1 + 1e-6, "tight": 1 + 1e-6}
"""What a profile may lose on maps as small as these."""
DEAR, COSTLY = 3e8, 2e5
"""Float operations from which on a method is left out here (the same kind of map is met in smaller sizes),
and from which on, or if it never runs by itself, it is asked about every third map only."""
SEEDS = range(8)
CONVOLUTIONS, MATRICES = 1900, 600
"""Per seed: 20,000 maps in all."""


def check(linear_map, truth, rng):
    """No bound below, no estimate above."""
    plain, _ = prepare(linear_map)
    for method in METHODS:
        cost = method.cost(plain)
        if DEAR < cost < math.inf or (cost > COSTLY and rng.randrange(3)):
            continue
        start = truth * rng.choice(PROPOSALS)
        try:
            found = method.bound(linear_map, start if math.isfinite(start) else 0.0).value
        except NotCovered:
            continue
        assert found >= truth * (1 - ORACLE_ERROR), (method.name, found / truth, start, linear_map)
    for estimator in ESTIMATES:
        found = estimator.estimate(linear_map).value
        assert found <= truth * (1 + ORACLE_ERROR), (estimator.name, found / truth, linear_map)


def check_profile(linear_map, truth, rng):
    """What a user gets: the ends of the bracket, what was tried on the way, and how much it loses."""
    profile = rng.choice(PROFILES).name
    proof = prove(linear_map, profile=profile)
    above, below = proof.bracket.above.value, proof.bracket.below.value
    assert below <= truth * (1 + ORACLE_ERROR), (below / truth, linear_map)
    for attempt in proof.attempts:
        if attempt.bound is not None:
            assert attempt.bound.value >= above >= truth * (1 - ORACLE_ERROR), (attempt, truth, linear_map)
    if 1e-290 < truth < 1e290:
        assert above < truth * TIGHT[profile], (profile, above / truth, linear_map)


def random_matrix(rng, generator):
    """Gaussian, low-rank, sparse or spread over many decades, or of a family; up to 24 on a side."""
    rows, columns = rng.randint(1, 24), rng.randint(1, 24)
    kind = rng.randint(0, 7)
    if kind >= 5:
        return rng.choice(FAMILIES)(rng.randint, (rows, columns))
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    if kind == 0:
        rank = rng.randint(1, 3)
        weight = weight[:, :1].repeat(1, rank) @ torch.randn(rank, columns, generator=generator).double()
    elif kind == 1:
        weight = weight * (torch.rand(rows, columns, generator=generator) < 0.2)
    elif kind == 2:
        weight = weight * 10.0 ** torch.randint(-12, 13, weight.shape, generator=generator)
    elif kind == 3 and rows == columns:
        weight = torch.linalg.qr(weight)[0]
    return weight * rng.choice(SCALES)


def check_random_maps(convolutions, matrices, seed):
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    maps = []
    for _ in range(convolutions):
        recipe = random_convolution(rng, adversarial=True)
        linear_map, matrix = recipe.conv, recipe.matrix
        assert linear_map.as_matrix().shape == matrix.shape
        maps.append((linear_map, spectral_norm(matrix)))
    for _ in range(matrices):
        weight = random_matrix(rng, generator)
        maps.append((Dense(weight), spectral_norm(weight)))
    for number, (linear_map, truth) in enumerate(maps):
        check(linear_map, truth, rng)
        if number % 6 == 0:
            check_profile(linear_map, truth, rng)


def test_no_bound_of_a_random_map_lies_below_the_truth():
    check_random_maps(convolutions=90, matrices=40, seed=1000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_bound_of_20000_random_maps_lies_below_the_truth(seed):
    check_random_maps(CONVOLUTIONS, MATRICES, seed)


def traits(recipe):
    """What is special about a geometry."""
    conv = recipe.conv.base()
    yield f"{len(conv.image)}-D"
    yield f"{len(conv.image)}-D {'transposed' if recipe.transposed else recipe.padding_mode}"
    axes = list(zip(conv.image, conv.extent, conv.stride, conv.padding, strict=True))
    wraps = conv.padding_mode == "circular"
    for name, holds in {
        "rectangular": len(set(conv.image)) > 1,
        "n < k": any(n < e for n, e, _, _ in axes),
        "valid": all(pads == (0, 0) for *_, pads in axes),
        "asymmetric": any(left != right for *_, (left, right) in axes),
        "negative": any(min(pads) < 0 for *_, pads in axes),
        "pads beyond the image": any(max(pads) > n for n, _, _, pads in axes),
        "circular, over-padded": wraps and any(sum(pads) > e - 1 for _, e, _, pads in axes),
        "circular, under-padded": wraps and any(sum(pads) < e - 1 for _, e, _, pads in axes),
        "circular, stride does not divide": wraps and any(n % s for n, _, s, _ in axes),
        "circular, stride divides": wraps and any(s > 1 and n % s == 0 for n, _, s, _ in axes),
        "circular, wraps": wraps and any(n < e for n, e, _, _ in axes),
        "stride > kernel": any(s > e for _, e, s, _ in axes),
        "stride": max(conv.stride) > 1,
        "dilation": max(conv.dilation) > 1,
        "dilation with stride": any(d > 1 < s for d, s in zip(conv.dilation, conv.stride, strict=True)),
        "groups": conv.groups > 1,
        "one cell": math.prod(conv.image) == 1,
        "subnormal": 0 < float(conv.weight.abs().max()) < 2.0**-1022,
        "huge": float(conv.weight.abs().max()) > 1e29,
        "tiny": 0 < float(conv.weight.abs().max()) < 1e-29,
    }.items():
        if holds:
            yield name


def test_the_random_stream_meets_every_kind_of_map():
    rng = random.Random(0)
    seen = Counter(trait for _ in range(2000) for trait in traits(random_convolution(rng, adversarial=True)))
    modes = ("zeros", "circular", "reflect", "replicate", "transposed")
    expected = {f"{axes}-D {mode}" for axes in (1, 2, 3) for mode in modes}
    assert expected <= set(seen)
    assert min(seen.values()) >= 5, seen
    assert len(seen) == 3 + len(expected) + 20


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_families_are_what_they_are_called(family):
    rng = random.Random(1)
    shapes = [
        (rng.randint(1, 4), rng.randint(1, 4), *(rng.randint(1, 4) for _ in range(n))) for n in (0, 1, 2, 3)
    ]
    for shape in shapes:
        weight = family(rng.randint, shape)
        assert weight.shape == shape
        assert torch.isfinite(weight).all()
        if family.__name__ in ("orthogonal", "single_tap"):
            assert (weight.flatten(2).any(dim=0).any(dim=0).sum() if len(shape) > 2 else 1) <= 1
        if family.__name__ == "rank_one":
            values = torch.linalg.svdvals(weight.flatten(1))
            assert float(values[1:].max() if len(values) > 1 else 0.0) <= 1e-12 * float(values[0])
    assert not torch.equal(normal(rng.randint, (2, 2)), normal(rng.randint, (2, 2)))

"""What a method proved it confirms, and nothing below the truth is confirmed by any."""

from __future__ import annotations

import contextlib
import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import convolutions
from zoo import ZOO, normal

from lipaudit.errors import NotCovered
from lipaudit.spectral import METHODS, Conv, Dense, prove
from lipaudit.spectral.cells import Domain
from lipaudit.spectral.method import DEFAULT, Effort
from lipaudit.spectral.symbol import polyphase

ORACLE_ERROR = 1e-12
"""Relative error of the dense SVD itself."""
NAMED = {method.name: method for method in METHODS}

zoo = pytest.mark.parametrize("specimen", ZOO, ids=lambda s: s.name)
some_of_the_zoo = pytest.mark.parametrize(
    "specimen",
    [pytest.param(s, id=s.name, marks=[pytest.mark.slow] if i % 4 else []) for i, s in enumerate(ZOO)],
)
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)


@some_of_the_zoo
@every_method
def test_what_was_proved_is_confirmed_and_nothing_below_the_truth(specimen, method):
    linear_map, truth = specimen.make(), specimen.truth
    try:
        found = method.bound(linear_map, truth * (1 - 1e-7) if truth < 1e300 else 0.0)
    except NotCovered:
        assert not method.confirms(linear_map, 1e300)
        return
    assert not found.is_finite or method.confirms(linear_map, found.value)
    for factor in (1 - 1e-3, 1 - 1e-11):
        if truth * factor < truth * (1 - ORACLE_ERROR):
            assert not method.confirms(linear_map, truth * factor)


@pytest.mark.slow
@zoo
@every_method
def test_claims_of_every_size(specimen, method):
    linear_map, truth = specimen.make(), specimen.truth
    for factor in (0.0, 0.5, 0.9, 1 - 1e-6, 1 - 1e-9):
        if truth * factor < truth * (1 - ORACLE_ERROR):
            assert not method.confirms(linear_map, truth * factor)
    for effort in (Effort(1e-5, DEFAULT.memory, 5e9), Effort(1e-9, DEFAULT.memory, 1e11)):
        with contextlib.suppress(NotCovered):
            found = method.bound(linear_map, 0.0, effort)
            assert not found.is_finite or method.confirms(linear_map, found.value)
            assert not found.value < 1e308 or method.confirms(linear_map, found.value * 1.5)


@every_method
def test_claims_that_are_no_numbers_are_never_confirmed(method):
    for linear_map in (Dense(normal(3, 4)), Conv(normal(2, 2, 3, 3), 5, padding=1)):
        for claim in (math.inf, math.nan, -1.0, -0.0):
            assert not method.confirms(linear_map, claim)


@settings(deadline=None, max_examples=20)
@given(recipe=convolutions(), factor=st.floats(0, 1 - 1e-9), exponent=st.integers(-200, 200))
def test_random_maps(recipe, factor, exponent):
    linear_map = recipe.conv
    truth = float(torch.linalg.matrix_norm(linear_map.as_matrix(), 2))
    scaled = linear_map.with_weight(linear_map.weight * 2.0**exponent)
    for method in METHODS:
        try:
            found = method.bound(scaled)
        except NotCovered:
            continue
        assert method.confirms(scaled, found.value)
        if truth > 0:
            assert not method.confirms(scaled, math.ldexp(truth * factor * (1 - ORACLE_ERROR), exponent))


@pytest.mark.parametrize("profile", ["fast", "balanced", pytest.param("tight", marks=pytest.mark.slow)])
def test_what_a_profile_proves_is_confirmed(profile):
    weight = normal(8, 8, 3, 3)
    for linear_map in (
        Dense(normal(40, 30)),
        Conv(weight, 12, padding=1),
        Conv(weight, 12, padding=1, stride=2),
        Conv(weight, 12, padding=1, padding_mode="circular"),
        Conv(weight, 12, padding=1, padding_mode="reflect"),
        Conv(normal(8, 1, 3, 3), 12, padding=1, groups=8),
    ):
        proof = prove(linear_map, profile=profile)
        proved = [a.bound for a in proof.attempts if a.bound is not None]
        assert proved
        for bound in proved:
            assert NAMED[bound.method].confirms(linear_map, bound.value)
            assert not NAMED[bound.method].confirms(linear_map, proof.bracket.below.value * (1 - 1e-9))


def test_a_search_that_ended_early_is_confirmed_and_its_limit_is_not_exceeded():
    symbol = polyphase(Conv(normal(6, 6, 3, 3), 9, padding=1), (1, 1))
    domain = Domain.of_all(symbol, memory=DEFAULT.memory)
    assert domain.holds(100.0, Effort(operations=1.0))
    top = NAMED["supremum"].bound(Conv(normal(6, 6, 3, 3), 9, padding=1)).value
    assert domain.holds(top, Effort(operations=1e12))
    assert not domain.holds(top * (1 - 1e-6), Effort(operations=1e12))


@every_method
def test_claims_beyond_all_measure_end_in_an_answer(method):
    g = torch.Generator().manual_seed(1)
    kernel = torch.randn(2, 2, 3, 3, generator=g, dtype=torch.float64)
    faint = kernel.clone()
    faint[:, :, 0] = 1e-320  # a patch of these alone is scaled up by as much
    for weight in (kernel, faint):
        for mode in ("zeros", "circular", "reflect"):
            linear_map = Conv(weight, (8, 8), padding=(1, 1), padding_mode=mode)
            for claim in (1e154, sys.float_info.max):
                assert method.confirms(linear_map, claim) in (True, False)
    for claim in (1e154, sys.float_info.max):
        assert method.confirms(Dense(kernel.flatten(1)), claim) in (True, False)

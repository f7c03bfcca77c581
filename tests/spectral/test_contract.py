"""Every method on every specimen: bounds never below the dense singular values, estimates never above."""

from __future__ import annotations

import math

import pytest
import torch
from zoo import CONVOLUTIONS, DENSE, ZOO, normal

from lipaudit.bound import Bound, Bracket, Estimate
from lipaudit.errors import NotCovered, UsageError
from lipaudit.spectral import ESTIMATES, METHODS, Conv, Dense, bracket

ORACLE_ERROR = 1e-12
"""Relative error of the dense SVD itself (and of summing wrapped entries)."""
NAMES = [
    "schur",
    "reshape",
    "two-way",
    "four-way",
    "dense",
    "fft",
    "embedding",
    "low-resolution",
    "supremum",
    "gram",
    "gram-circular",
    "gram-zero",
    "exact",
    "patches",
]
SILENT_ON_ZEROS = {"fft": "circular", "gram-circular": "circular", "patches": "border"}
"""Methods that do not speak of zero padding, and what their refusal mentions."""
EVERYWHERE = set(NAMES) - set(SILENT_ON_ZEROS) - {"embedding"}

zoo = pytest.mark.parametrize("specimen", ZOO, ids=lambda s: s.name)
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)


def bound_or_none(method, linear_map, start=0.0):
    try:
        return method.bound(linear_map, start)
    except NotCovered:
        return None


def test_the_tables_hold_what_reports_call_them():
    assert [m.name for m in METHODS] == NAMES
    assert [e.name for e in ESTIMATES] == ["lanczos"]
    assert all(row.summary for row in (*METHODS, *ESTIMATES))


@zoo
@every_method
def test_no_bound_lies_below_the_truth(specimen, method):
    linear_map, truth = specimen.make(), specimen.truth
    found = bound_or_none(method, linear_map)
    if found is None:
        return
    assert isinstance(found, Bound)
    assert found.method == method.name
    assert found.value >= truth * (1 - ORACLE_ERROR)


@pytest.mark.slow  # by default `test_confirm` hands every method values below the truth
@zoo
@every_method
def test_a_bad_proposal_costs_tightness_at_most(specimen, method):
    linear_map, truth = specimen.make(), specimen.truth
    for factor in (1e-3, 1 - 1e-15):
        found = bound_or_none(method, linear_map, truth * factor if truth < 1e300 else 0.0)
        assert found is None or found.value >= truth * (1 - ORACLE_ERROR)


@zoo
@pytest.mark.parametrize("estimator", ESTIMATES, ids=lambda e: e.name)
def test_no_estimate_lies_above_the_truth(specimen, estimator):
    for steps in (1, 3, 240):
        found = estimator.estimate(specimen.make(), steps)
        assert isinstance(found, Estimate)
        assert found.value <= specimen.truth * (1 + ORACLE_ERROR)


@zoo
def test_auto_covers_every_map_tightly(specimen):
    found, truth = bracket(specimen.make()), specimen.truth
    assert isinstance(found, Bracket)
    assert found.above.value >= truth * (1 - ORACLE_ERROR)
    assert found.below.value <= truth * (1 + ORACLE_ERROR)
    if 1e-300 < truth < math.inf:
        assert found.above.value <= truth * specimen.slack
        assert found.below.value >= truth * 0.999
    if truth == 0:
        assert found.above.value == 0


@pytest.mark.parametrize("specimen", CONVOLUTIONS, ids=lambda s: s.name)
def test_which_method_speaks_of_which_convolution(specimen):
    linear_map = specimen.make()
    covered = {m.name for m in METHODS if bound_or_none(m, linear_map) is not None}
    assert covered >= EVERYWHERE
    if linear_map.weight.any():
        assert ("embedding" in covered) == (linear_map.padding_mode == "zeros")
        assert len(covered & {"fft", "gram-circular"}) in (0, 2)
        assert linear_map.padding_mode == "circular" or "fft" not in covered
        assert linear_map.padding_mode != "zeros" or "patches" not in covered


@pytest.mark.parametrize("specimen", DENSE, ids=lambda s: s.name)
def test_which_method_speaks_of_which_matrix(specimen):
    covered = {m.name for m in METHODS if bound_or_none(m, specimen.make()) is not None}
    assert covered == ({"schur", "dense", "gram"} if specimen.make().weight.any() else set(NAMES))


@pytest.mark.slow
@zoo
@every_method
def test_bounds_scale_with_the_weight(specimen, method):
    linear_map = specimen.make()
    if linear_map.weight.numel() > 10_000:
        return
    found = bound_or_none(method, linear_map)
    if found is None or not 1e-290 < found.value < 1e290:
        return
    for factor in (-(2.0**-7), 2.0**9):
        scaled = bound_or_none(method, linear_map.with_weight(linear_map.weight * factor))
        assert scaled.value == pytest.approx(found.value * abs(factor), rel=1e-12)


@every_method
@pytest.mark.parametrize("factor", [1e-30, 0.1, 3.0, 1e30])
def test_bounds_scale_with_any_factor(method, factor):
    for linear_map in (Dense(normal(6, 5)), Conv(normal(2, 2, 3, 3), 5, padding=1)):
        found = bound_or_none(method, linear_map)
        if found is not None:
            scaled = bound_or_none(method, linear_map.with_weight(linear_map.weight * factor))
            assert scaled.value == pytest.approx(found.value * factor, rel=1e-6)


@every_method
@pytest.mark.parametrize(
    ("n", "options"),
    [
        (7, {"padding": 1}),
        (9, {"padding": 1, "stride": 2}),
        (8, {"padding": [(2, 1)] * 2, "stride": 2, "dilation": 2, "groups": 2}),
        (6, {}),
    ],
)
def test_a_transposed_convolution_has_the_norm_of_its_adjoint(method, n, options):
    weight = normal(4, 2, 3, 3)
    plain = Conv(weight, n, **options)
    transposed = Conv(weight, plain.out_image, **options, transposed=True)
    if transposed.out_image != plain.image:  # the rows that no window reads come back as output padding
        missing = [n - out for out in transposed.out_image]
        pads = [(left, right - m) for (left, right), m in zip(plain.padding, missing, strict=True)]
        transposed = Conv(weight, plain.out_image, **{**options, "padding": pads}, transposed=True)
    assert torch.equal(transposed.as_matrix(), plain.as_matrix().T)
    found = bound_or_none(method, plain)
    assert (found is None) == (bound_or_none(method, transposed) is None)
    if found is not None:
        assert bound_or_none(method, transposed).value == pytest.approx(found.value, rel=1e-9)


def test_output_padding_beyond_the_stride_never_raises_the_norm():
    weight = normal(2, 2, 3)
    usual = Conv(weight, 5, padding=[(1, 1)], dilation=3, transposed=True)
    more = Conv(weight, 5, padding=[(1, -1)], dilation=3, transposed=True)
    assert bracket(usual).below.value <= bracket(more).above.value


def test_an_unknown_method_is_a_usage_error():
    with pytest.raises(UsageError, match="oracle") as caught:
        bracket(Dense(normal(2, 2)), "oracle")
    assert all(name in caught.value.hint for name in NAMES)


@every_method
def test_a_named_method_is_the_one_that_answers(method):
    linear_map = Conv(normal(2, 2, 3, 3), 5, padding=1)
    if method.name in SILENT_ON_ZEROS:
        with pytest.raises(NotCovered, match=SILENT_ON_ZEROS[method.name]):
            bracket(linear_map, method.name)
    else:
        assert bracket(linear_map, method.name).above.method == method.name

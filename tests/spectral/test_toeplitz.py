"""TᴴT in bands is TᴴT, and `exact` is the finite map's norm to seven digits."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from hypothesis import assume, given, settings
from oracles import dominates, spectral_norm
from strategies import convolutions, random_convolution
from zoo import CONVOLUTIONS, normal, ones

from lipaudit.errors import NotCovered
from lipaudit.spectral import Conv, bracket, toeplitz
from lipaudit.spectral.banded import Gramian, Layout, axes_of, cheapest_layout
from lipaudit.spectral.krylov import banded_product, likely_top
from lipaudit.spectral.method import Effort, prepare

EXACT = toeplitz.METHOD
ORACLE_ERROR = 1e-12


def assembled(rows):
    """The Hermitian matrices that block rows stand for."""
    ends = [0]
    for row in rows:
        ends.append(ends[-1] + row[0].shape[-1])
    matrix = rows[0][0].new_zeros(len(rows[0][0]), ends[-1], ends[-1])
    for i, row in enumerate(rows):
        for back, block in enumerate(row):
            matrix[:, ends[i] : ends[i + 1], ends[i - back] : ends[i - back + 1]] = block
    lower = matrix.tril(-1)
    return lower + lower.mH + torch.diag_embed(matrix.diagonal(dim1=1, dim2=2))


def layouts(conv):
    """Every axis, side and order, in groups of several sizes."""
    axes = range(len(conv.image))
    for axis, inputs, folded, group in itertools.product(axes, (True, False), (True, False), (1, 2, 5)):
        yield Layout(axis, inputs, folded, group)


def gramian(conv, layout):
    kernel = conv.weight.reshape(conv.groups, -1, *conv.weight.shape[1:])
    return Gramian(kernel, axes_of(conv), layout)


def test_the_bands_are_the_gram_matrix_of_the_oracle():
    rng = random.Random(3)
    for _ in range(25):
        recipe = random_convolution(rng)
        plain, exponent = prepare(recipe.conv)
        if not plain.weight.any():
            continue
        truth = math.ldexp(spectral_norm(recipe.matrix), -exponent)
        for layout in layouts(plain):
            found = gramian(plain, layout)
            H = assembled(list(found.rows()))
            error = abs(float(torch.linalg.eigvalsh(H).max()) - truth**2)
            assert error <= found.error() + 1e-13 * truth**2, (layout, plain)
            blocks = plain.blocks()
            frobenius = float(torch.linalg.matrix_norm(blocks.mT @ blocks).max())
            assert float(torch.linalg.matrix_norm(H).max()) == pytest.approx(frobenius, rel=1e-10, abs=1e-300)


def test_a_diagonal_block_is_not_taken_for_another_of_the_same_pattern():
    """Outputs that all read one cell: H_ij = H_ii, but of H_ii the lower triangle counts."""
    conv = Conv(normal(3, 2, 3), 2, padding=4, padding_mode="replicate")
    for layout in layouts(conv):
        H = assembled(list(gramian(conv, layout).rows()))
        assert math.sqrt(float(torch.linalg.eigvalsh(H)[0, -1])) == pytest.approx(
            spectral_norm(conv.blocks()[0])
        )


def test_a_ring_is_folded_into_a_narrow_band():
    conv = Conv(normal(40, 40, 3), 60, padding=2, padding_mode="circular")
    layout = cheapest_layout(1, (40, 40), axes_of(conv))
    assert layout.folded
    assert max(map(len, gramian(conv, layout).rows())) <= 8
    natural = Layout(0, inputs=True, folded=False, group=1)
    assert max(map(len, gramian(conv, natural).rows())) > 50


def test_the_side_and_axis_that_cost_least_are_taken():
    tall = axes_of(Conv(normal(4, 4, 3, 3), (50, 5), padding=1))
    assert cheapest_layout(1, (4, 4), tall).axis == 0
    wide = axes_of(Conv(normal(4, 4, 3, 3), (5, 50), padding=1))
    assert cheapest_layout(1, (4, 4), wide).axis == 1
    assert cheapest_layout(1, (2, 64), wide).inputs is False
    assert cheapest_layout(1, (64, 2), wide).inputs is True


def test_products_with_the_bands():
    conv = Conv(normal(2, 3, 3, 3), (6, 4), padding=1)
    rows = list(gramian(conv, Layout(0, inputs=True, folded=False, group=2)).rows())
    H, v = assembled(rows), normal(1, 72)
    assert torch.allclose(banded_product(rows)(v), v @ H[0], rtol=1e-12, atol=1e-12)
    top = float(torch.linalg.eigvalsh(H)[0, -1])
    assert float(likely_top(banded_product(rows), v, 72, 1e-12)) == pytest.approx(top, rel=1e-9)


def test_lanczos_survives_an_exhausted_space():
    for H in (torch.zeros(2, 5, 5).double(), torch.eye(5).double().expand(2, 5, 5), ones(2, 5, 5)):
        top = torch.linalg.eigvalsh(H)[:, -1]
        found = likely_top(lambda v, H=H: (H @ v[..., None])[..., 0], H[:, 0], 40, 1e-12)
        assert torch.allclose(found, top, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("specimen", CONVOLUTIONS, ids=lambda s: s.name)
def test_every_convolution_of_the_zoo_within_a_millionth(specimen):
    truth, found = specimen.truth, EXACT.bound(specimen.make()).value
    assert found >= truth * (1 - ORACLE_ERROR)
    if truth > 1e-290:
        assert found <= truth * (1 + 1e-6)


def test_random_convolutions_within_a_millionth():
    rng = random.Random(11)
    for _ in range(150):
        recipe = random_convolution(rng, largest=10)
        truth, found = spectral_norm(recipe.matrix), EXACT.bound(recipe.conv).value
        assert truth * (1 - ORACLE_ERROR) <= found <= truth * (1 + 1e-6)


@settings(deadline=None, max_examples=60)
@given(convolutions(largest=4, channels=1))
def test_bounds_dominate_in_exact_arithmetic(recipe):
    assume(math.prod(recipe.image) * recipe.weight.numel() <= 60)
    assert dominates(EXACT.bound(recipe.conv).value, recipe.exact_matrix)


@pytest.mark.parametrize("error", [-1e-3, -1e-7, 0.0, 1e-7])
def test_a_wrong_proposal_is_raised_until_it_is_proved(monkeypatch, error):
    conv = Conv(normal(3, 3, 3, 3), 6, padding=1)
    truth = spectral_norm(conv.as_matrix())
    scale = 2.0 ** -prepare(conv)[1]
    monkeypatch.setattr(toeplitz, "likely_norm", lambda *_: truth * scale * (1 + error))
    found = EXACT.bound(conv).value
    assert truth * (1 - ORACLE_ERROR) <= found <= truth * (1 + 10 * abs(error) + 2e-7)


def test_weights_that_cancel_leave_nothing():
    weight = torch.tensor([0.75, 1e-9, -0.75]).double().reshape(1, 1, 3)
    conv = Conv(weight, 1, padding=1, padding_mode="circular")
    assert 1e-9 <= EXACT.bound(conv).value < 1e-6


def test_groups_in_batches_small_and_large():
    conv = Conv(normal(12, 2, 3, 3), 7, padding=1, groups=6)
    layout = cheapest_layout(6, (2, 2), axes_of(conv))
    truth = spectral_norm(conv.as_matrix())
    for memory in (2**31, int(4.5 * layout.memory), int(layout.memory)):
        found = EXACT.bound(conv, effort=Effort(memory=memory)).value
        assert truth * (1 - ORACLE_ERROR) <= found <= truth * (1 + 1e-6)
    with pytest.raises(NotCovered, match="memory"):
        EXACT.compute(conv, 0.0, Effort(memory=1000))


@pytest.mark.parametrize(
    "conv",
    [
        Conv(normal(64, 64, 3, 3), 224, padding=1),
        Conv(normal(1, 1, 5000), 9000, padding=2000),
        Conv(normal(16, 16, 3, 3, 3), 32, padding=1),
    ],
    ids=["an image of 224", "a kernel of 5000", "a large volume"],
)
def test_what_would_take_hours_is_refused_at_once(conv):
    with pytest.raises(NotCovered, match="reasonable"):
        EXACT.bound(conv)


def test_tolerance_is_what_is_tried_first():
    conv = Conv(normal(2, 2, 3), 9, padding=1)
    truth = spectral_norm(conv.as_matrix())
    assert EXACT.bound(conv, effort=Effort(tolerance=1e-3)).value == pytest.approx(truth * 1.001, rel=1e-6)
    assert EXACT.bound(conv, effort=Effort(tolerance=1e-11)).value <= truth * (1 + 1e-9)


@pytest.mark.parametrize(
    "conv",
    [
        Conv(normal(8, 8, 3, 3), 20, padding=1),
        Conv(normal(16, 3, 7, 7), 32, padding=3, stride=2),
        Conv(normal(32, 1, 3, 3), 24, padding=1, groups=32),
        Conv(normal(4, 4, 5), 500, padding=2, padding_mode="reflect"),
        Conv(normal(6, 6, 3, 3), 15, padding=1, stride=2, padding_mode="circular"),
    ],
    ids=["8 channels at 20", "first layer", "depthwise", "signal", "ring"],
)
def test_slack_against_a_witness(conv):
    assert bracket(conv, "exact").slack < 1 + 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "conv",
    [
        Conv(normal(16, 16, 3, 3), 32, padding=1),
        Conv(normal(64, 64, 3, 3), 16, padding=1),
        Conv(normal(64, 64, 3, 3), 16, padding=1, padding_mode="reflect"),
    ],
    ids=["16 channels at 32", "64 channels at 16", "64 channels at 16, reflected"],
)
def test_slack_of_a_thousand_entries_to_a_row(conv):
    assert bracket(conv, "exact").slack < 1 + 1e-4

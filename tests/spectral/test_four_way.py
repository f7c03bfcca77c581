"""The reshape bounds of Singla and Feizi: the four matrices, strides, dilation, paddings."""

from __future__ import annotations

import math
import random

import pytest
import torch
from oracles import spectral_norm
from strategies import random_convolution
from zoo import normal, ones

from lipaudit.errors import NotCovered
from lipaudit.spectral import Conv, Dense, bracket
from lipaudit.spectral.four_way import FOUR_WAY, TWO_WAY, folds
from lipaudit.spectral.method import Effort


def matrices(weight):
    """R, S, M, N of a 2-D kernel, block by block."""
    c_out, c_in, h, w = weight.shape
    rows = torch.cat([torch.cat([weight[:, :, a, b] for b in range(w)], 1) for a in range(h)])
    columns = torch.cat([torch.cat([weight[:, :, a, b] for a in range(h)], 1) for b in range(w)])
    wide = torch.cat([weight[:, :, a, b] for a in range(h) for b in range(w)], 1)
    tall = torch.cat([weight[:, :, a, b] for a in range(h) for b in range(w)])
    assert rows.shape == (c_out * h, c_in * w)
    assert columns.shape == (c_out * w, c_in * h)
    return rows, columns, wide, tall


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (2, 5, 3, 2), (6, 2, 1, 4), (64, 3, 7, 7)])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_two_and_four_way_are_the_published_minima(shape, mode):
    weight = normal(*shape)
    h, w = shape[2:]
    pads = [((h - 1) // 2, h // 2), ((w - 1) // 2, w // 2)]
    linear_map = Conv(weight, 9, padding=pads, padding_mode=mode)
    norms = [math.sqrt(h * w) * spectral_norm(m) for m in matrices(weight)]
    assert TWO_WAY.bound(linear_map).value == pytest.approx(min(norms[:2]), rel=1e-8)
    assert FOUR_WAY.bound(linear_map).value == pytest.approx(min(norms), rel=1e-8)


def test_each_of_the_four_can_be_the_smallest():
    signs, one = torch.tensor([[1.0, 1], [1, -1]]).double(), torch.ones(2).double()
    smallest = (
        torch.einsum("ow,ih->oihw", one.outer(one), signs) * signs[:, None, None, :],
        torch.einsum("oh,iw->oihw", signs, signs),
        torch.einsum("o,ihw->oihw", one, torch.einsum("ih,w->ihw", signs, one)),
        torch.einsum("i,ohw->oihw", one, torch.einsum("oh,w->ohw", signs, one)),
    )
    seen = set()
    for weight in (*smallest, *(normal(2, 2, 2, 2, seed=s) for s in range(40))):
        norms = [2 * spectral_norm(m) for m in matrices(weight)]
        seen.add(norms.index(min(norms)))
        found = FOUR_WAY.bound(Conv(weight, 6, padding=1)).value
        assert found == pytest.approx(min(norms), rel=1e-8)
    assert seen == {0, 1, 2, 3}


def test_one_axis_has_two_folds_and_three_have_eight():
    assert len(folds((3,), (1,), (1,))) == len(folds((3,), (1,), (1,), mixed=True)) == 2
    assert len(folds((3, 3, 3), (1,) * 3, (1,) * 3)) == 8
    assert len(folds((3, 3, 3), (1,) * 3, (1,) * 3, mixed=True)) == 6
    weight = normal(3, 2, 5)
    wide, tall = weight.flatten(1), weight.permute(0, 2, 1).flatten(0, 1)
    expected = math.sqrt(5) * min(spectral_norm(wide), spectral_norm(tall))
    assert TWO_WAY.bound(Conv(weight, 9)).value == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2, 3, 4])
def test_factors_count_taps_not_the_zeros_between_them(stride, dilation):
    """Each factor is attained by a kernel of ones on a long signal, or lies above what is."""
    for k in (1, 2, 3, 5):
        positions = [dilation * t for t in range(k)]
        columns, rows = folds((k,), (stride,), (dilation,))
        phases = [p % stride for p in positions]
        assert columns.factor == max(phases.count(r) for r in phases)
        assert columns.factor == -(-k // (stride // math.gcd(stride, dilation)))
        assert rows.factor == len({p // stride for p in positions}) <= k
        folded = rows.matrices(normal(2, 3, k), 1)
        assert sorted(folded[folded != 0].tolist()) == sorted(normal(2, 3, k).flatten().tolist())


@pytest.mark.parametrize("dilation", [1, 2, 5])
def test_dilation_alone_changes_nothing(dilation):
    weight = normal(3, 2, 3, 3)
    plain = FOUR_WAY.bound(Conv(weight, 20, padding=1)).value
    dilated = FOUR_WAY.bound(Conv(weight, 20, padding=dilation, dilation=dilation)).value
    assert dilated == plain
    assert plain < math.sqrt(81) * spectral_norm(weight.flatten(1))


def test_ones_attain_the_bound():
    """A kernel of ones whose phases hold equally many taps has the norm √reads·√k on long signals."""
    for k, stride, dilation in [(3, 1, 1), (4, 2, 1), (3, 2, 2), (6, 3, 2), (4, 3, 3), (4, 4, 2)]:
        linear_map = Conv(ones(1, 1, k), 240, stride=stride, dilation=dilation)
        truth = spectral_norm(linear_map.as_matrix())
        found = FOUR_WAY.bound(linear_map).value
        assert truth <= found <= truth * 1.01


def test_other_paddings_pay_for_their_copies():
    weight = normal(2, 2, 3, 3)
    zeros = FOUR_WAY.bound(Conv(weight, 6, padding=1)).value
    circular = FOUR_WAY.bound(Conv(weight, 6, padding=1, padding_mode="circular")).value
    wider = FOUR_WAY.bound(Conv(weight, 6, padding=2, padding_mode="circular")).value
    replicate = FOUR_WAY.bound(Conv(weight, 6, padding=1, padding_mode="replicate")).value
    assert circular == zeros
    assert wider == pytest.approx(2 * zeros, rel=1e-9)  # every cell of an edge twice per axis
    assert replicate == pytest.approx(2 * zeros, rel=1e-9)


@pytest.mark.parametrize("method", [TWO_WAY, FOUR_WAY], ids=lambda m: m.name)
def test_random_maps_of_every_padding(method):
    rng = random.Random(7)
    for _ in range(150):
        recipe = random_convolution(rng, largest=6)
        assert method.bound(recipe.conv).value >= spectral_norm(recipe.matrix) * (1 - 1e-12)


def test_what_does_not_fit_is_not_covered():
    linear_map = Conv(normal(30, 20, 3, 3), 6)
    usual = FOUR_WAY.bound(linear_map).value
    narrow = FOUR_WAY.bound(linear_map, effort=Effort(memory=48 * 31**2)).value  # M and N alone fit
    assert narrow == pytest.approx(
        3 * min(spectral_norm(m) for m in matrices(linear_map.weight)[2:]), rel=1e-8
    )
    assert usual <= narrow
    with pytest.raises(NotCovered, match="bytes"):
        TWO_WAY.bound(linear_map, effort=Effort(memory=48 * 31**2))
    with pytest.raises(NotCovered, match="not a convolution"):
        FOUR_WAY.bound(Dense(normal(2, 2)))


def test_the_folded_norm_is_proved_not_iterated():
    """R with σ₁ and σ₂ alike: power iteration stops short, a bound may not."""
    weight = normal(40, 40, 1, 1)
    U, S, V = torch.linalg.svd(weight[:, :, 0, 0])
    S[:20] = torch.linspace(float(S[0]), float(S[0]) * (1 - 1e-9), 20).double()
    weight = (U @ torch.diag(S) @ V)[:, :, None, None]
    linear_map = Conv(weight, 3)
    assert FOUR_WAY.bound(linear_map).value >= spectral_norm(weight[:, :, 0, 0]) * (1 - 1e-15)
    assert bracket(linear_map).above.value <= FOUR_WAY.bound(linear_map).value

"""Block Lanczos: the same answers as PowerQR's, in fewer products."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import as_fractions, exceeds
from strategies import convolutions
from zoo import hadamard, normal, with_spectrum

from lipaudit.errors import InputRefused
from lipaudit.spectral import Conv, Dense, block_lanczos, leading
from lipaudit.spectral.block_lanczos import block_lanczos as lanczos
from lipaudit.spectral.implicit import Implicit
from lipaudit.spectral.leading import leading_triplets
from lipaudit.spectral.power_qr import power_qr


def top(linear_map, k=5, **options):
    """By the map's own adjoint."""
    return lanczos(linear_map.apply, linear_map.in_shape, k, adjoint=linear_map.adjoint, **options)


@settings(deadline=None, max_examples=60)
@given(convolutions(largest=5), st.integers(1, 15), st.booleans())
def test_leading_triplets_agree_with_a_dense_svd_and_lie_below(recipe, k, accelerated):
    truth = torch.linalg.svdvals(recipe.matrix)
    values = leading_triplets(recipe.conv, k, accelerated=accelerated).values
    truth = torch.nn.functional.pad(truth, (0, max(0, len(values) - len(truth))))[: len(values)]
    largest = float(truth[0])
    assert bool((values <= truth * (1 + 4e-15) + 4e-15 * largest).all())
    assert bool((values >= truth * (1 - 1e-6) - 1e-7 * largest).all())


@pytest.mark.parametrize("seed", range(8))
def test_the_largest_value_lies_below_the_norm_exactly(seed):
    weight = normal(5, 6, seed=seed)
    value = float(leading_triplets(Dense(weight)).values[0])
    assert not exceeds(value, as_fractions(weight))
    assert value >= float(torch.linalg.svdvals(weight)[0]) * (1 - 1e-12)


def test_fewer_products_than_power_qr():
    linear_map = Conv(normal(8, 8, 3, 3), 12, padding=1)
    slow = power_qr(linear_map.apply, linear_map.in_shape, 10, adjoint=linear_map.adjoint)
    fast = top(linear_map, 10)
    assert fast.steps < slow.steps
    assert torch.allclose(slow.values, fast.values, rtol=2e-6)


def test_restarts_lose_nothing(monkeypatch):
    monkeypatch.setattr(block_lanczos, "STORED_ENTRIES", 1)
    linear_map = Conv(normal(4, 4, 3, 3), 8, padding=1)
    found = top(linear_map, 6)
    assert found.settled
    assert torch.allclose(found.values, torch.linalg.svdvals(linear_map.as_matrix())[:6], rtol=1e-6)


def test_many_blocks_stay_orthogonal():
    linear_map = Conv(normal(12, 1, 5, 5), 22, padding=2)
    found = top(linear_map, 10)
    assert found.settled
    assert torch.allclose(found.values, torch.linalg.svdvals(linear_map.as_matrix())[:10], rtol=1e-6)


def test_values_that_lie_close_together_cost_few_decompositions(monkeypatch):
    torch.manual_seed(0)
    sizes = []
    decomposed = torch.linalg.eigh
    monkeypatch.setattr(block_lanczos.torch.linalg, "eigh", lambda a: sizes.append(len(a)) or decomposed(a))
    monkeypatch.setattr(block_lanczos, "STORED", 150)
    weight = torch.linalg.qr(normal(400, 400)).Q * torch.linspace(1, 0.999, 400).double()
    found = top(Dense(weight), 3, tolerance=1e-14, steps=100)
    assert len(sizes) < found.steps / 2
    assert max(sizes) <= 150
    assert found.values[:3].tolist() == pytest.approx([1, 1, 1], rel=1e-4)


@pytest.mark.parametrize("k", [1, 3, 11, 16, 40])
def test_ties_are_all_found(k):
    assert top(Dense(hadamard(16)), k).values.tolist() == pytest.approx([4.0] * min(k, 16), rel=1e-12)


def test_a_start_of_lesser_vectors_does_not_end_the_search():
    linear_map = Dense(torch.diag(torch.linspace(2, 1, 60).double()))
    start = torch.eye(60, dtype=torch.float64)[30:33]
    for search in (power_qr, lanczos):
        found = search(linear_map.apply, (60,), 3, start=start, tolerance=1e-4)
        assert float(found.values[0]) == pytest.approx(2, rel=1e-2)


@pytest.mark.parametrize("scale", [2.0**-1060, 1e-150, 1e-30, 1e30, 1e150, 2.0**1010])
def test_scales_make_no_difference(scale):
    weight = with_spectrum([4.0, 2.0, 1.0])
    values = leading_triplets(Dense(weight * scale), 3).values
    truth = torch.linalg.svdvals(weight * 2.0**13 if scale < 1e-300 else weight)
    values = values / scale * (2.0**13 if scale < 1e-300 else 1)
    assert bool((values >= truth * (1 - 1e-3)).all())
    assert bool((values <= truth * (1 + 1e-3)).all())


def test_large_maps_are_searched_in_float32_and_proved_in_float64(monkeypatch):
    monkeypatch.setattr(leading, "SMALL", 0)
    linear_map = Dense(with_spectrum([3.0, 2.0, 2.0, 1.5] + [1.0 - i / 200 for i in range(150)]))
    values = leading_triplets(linear_map, 4, tolerance=1e-4).values.tolist()
    assert values == pytest.approx([3, 2, 2, 1.5], rel=1e-4)
    assert values[0] <= 3 * (1 + 1e-13)
    close = leading_triplets(linear_map, 4, tolerance=1e-7).values.tolist()
    assert close == pytest.approx([3, 2, 2, 1.5], rel=1e-7)


@pytest.mark.parametrize("steps", [24, 30, 40])
def test_few_steps_lose_no_values(monkeypatch, steps):
    """What float32 found counts where the steps left are too few for a search in float64."""
    monkeypatch.setattr(leading, "SMALL", 0)
    linear_map = Dense(with_spectrum([1.5 - i / 200 for i in range(200)]))
    truth = torch.linalg.svdvals(linear_map.weight)[:40]
    found = leading_triplets(linear_map, 40, tolerance=1e-9, steps=steps)
    assert len(found.values) == 40
    assert not found.settled
    assert bool((found.values <= truth * (1 + 1e-14)).all())
    assert bool((found.values >= truth * 0.99).all())


def test_transposed_maps_keep_their_sides():
    linear_map = Conv(normal(3, 2, 3, 3), 4, stride=2, padding=1, transposed=True)
    found = leading_triplets(linear_map, 2)
    assert tuple(found.right.shape) == (2, *linear_map.in_shape)
    assert tuple(found.left.shape) == (2, *linear_map.out_shape)


def test_what_is_not_affine_is_refused():
    with pytest.raises(InputRefused, match="not affine"):
        lanczos(torch.relu, (8,), 2)


def test_images_of_the_kernel_are_rounding_and_no_contradiction():
    conv = Conv(normal(16, 6, 3, 3), 6, padding=1, stride=2, groups=2)
    _, values, right = torch.linalg.svd(conv.as_matrix())
    implicit = Implicit(conv.apply, conv.in_shape, adjoint=conv.adjoint)
    implicit.scale_by(right[:2])
    for rows in (right[:2], right[len(values) : len(values) + 8]):
        product = implicit.normal_product(rows, implicit.times(rows))
    assert float(product.abs().max()) < 1e-14

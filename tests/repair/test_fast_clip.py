"""FastClip against dense SVD: every kind of map ends at the limit, by the least change of its matrix."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipaudit.errors import UsageError
from lipaudit.repair.fast_clip import fast_clip
from lipaudit.repair.gradient import reads_per_tap, weight_gradients
from lipaudit.spectral import Conv, Dense, bracket, leading


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MAPS = {
    "dense": Dense(normal(9, 6)),
    "zeros": Conv(normal(4, 3, 3, 3), 7, padding=1),
    "valid": Conv(normal(2, 3, 2, 4), (6, 7)),
    "circular": Conv(normal(3, 3, 3, 3), 6, padding=1, padding_mode="circular"),
    "circular that wraps": Conv(normal(2, 2, 5, 5), 3, padding=2, padding_mode="circular"),
    "strided": Conv(normal(5, 3, 3, 3), 8, padding=1, stride=2),
    "strided circular": Conv(normal(4, 2, 3, 3), 8, padding=1, stride=2, padding_mode="circular"),
    "grouped": Conv(normal(6, 2, 3, 3), 6, padding=1, groups=3),
    "depthwise": Conv(normal(4, 1, 3, 3), 6, padding=1, groups=4),
    "dilated": Conv(normal(3, 2, 3, 3), 8, padding=2, dilation=2),
    "reflect": Conv(normal(3, 3, 3, 3), 6, padding=1, padding_mode="reflect"),
    "replicate": Conv(normal(3, 3, 3, 3), 6, padding=1, padding_mode="replicate"),
    "transposed": Conv(normal(3, 4, 4, 4), 4, padding=1, stride=2, transposed=True),
    "one axis": Conv(normal(4, 3, 5), 12, padding=2),
    "three axes": Conv(normal(2, 2, 2, 2, 2), 4, padding=1),
    "one tap": Conv(normal(6, 5, 1, 1), 5),
}
KINDS = pytest.mark.parametrize("linear_map", MAPS.values(), ids=MAPS)


def spectrum(linear_map):
    return torch.linalg.svdvals(linear_map.as_matrix())


@KINDS
def test_the_gradient_is_that_of_the_matrix(linear_map):
    left, right = normal(2, *linear_map.out_shape, seed=1), normal(2, *linear_map.in_shape, seed=2)
    found = weight_gradients(linear_map, left, right)
    for index in range(linear_map.weight.numel()):
        unit = torch.zeros(linear_map.weight.numel(), dtype=torch.float64)
        unit[index] = 1
        matrix = linear_map.with_weight(unit.reshape(linear_map.weight.shape)).as_matrix()
        truth = torch.einsum("ko,oi,ki->k", left.flatten(1), matrix, right.flatten(1))
        assert torch.allclose(found.flatten(1)[:, index], truth, atol=1e-12)
        if index % 5 == 0:
            counts = reads_per_tap(linear_map).expand_as(linear_map.weight).flatten()
            assert counts[index] == max(1, int((matrix != 0).sum())) or matrix.max() > 1


@pytest.mark.parametrize("share", [0.95, 0.5])
@KINDS
def test_every_kind_ends_at_the_limit(linear_map, share):
    before = spectrum(linear_map)
    limit = share * float(before[0])
    clipped = fast_clip(linear_map, limit)
    after = spectrum(clipped.map)
    assert after[0] <= limit * (1 + 1e-3)  # searched, not proved: a bound is the caller's work
    assert after[0] >= limit * (1 - 1e-3), "it is not made smaller than it has to be"
    assert clipped.map.weight.shape == linear_map.weight.shape
    assert clipped.steps > 0
    # Rescaling moves every value by the same share; clipping must do better on the whole.
    assert torch.dist(before, after) < torch.dist(before, share * before)


@KINDS
def test_what_is_done_roughly_for_large_maps_comes_close(linear_map, monkeypatch):
    limit = 0.7 * float(spectrum(linear_map)[0])
    fine = fast_clip(linear_map, limit).map
    monkeypatch.setattr(leading, "SMALL", 0)
    rough = fast_clip(linear_map, limit).map
    assert spectrum(rough)[0] <= limit * (1 + 2e-3)
    moved = [torch.dist(linear_map.as_matrix(), other.as_matrix()) for other in (fine, rough)]
    assert moved[1] <= 1.01 * moved[0]


@KINDS
def test_it_is_nearer_than_rescaling(linear_map):
    matrix = linear_map.as_matrix()
    limit = 0.8 * float(spectrum(linear_map)[0])
    clipped = fast_clip(linear_map, limit).map.as_matrix()
    moved = float(torch.linalg.norm(matrix - clipped))
    assert moved < 0.2 * float(torch.linalg.norm(matrix)) * (1 + 1e-9)
    # No kernel within the limit is nearer than the matrix that was clipped without regard to kernels.
    excess = (spectrum(linear_map) - limit).clamp(min=0)
    assert moved >= float(torch.linalg.norm(excess)) * (1 - 1e-6)


def test_a_matrix_is_clipped_exactly():
    left, right = (torch.linalg.qr(normal(8, 8, seed=s)).Q for s in (1, 2))
    values = torch.tensor([5.0, 5, 4, 2, 1, 0.5, 0.1, 0], dtype=torch.float64)
    clipped = fast_clip(Dense(left @ torch.diag(values) @ right), 3.0)
    assert torch.allclose(clipped.map.weight, left @ torch.diag(values.clamp(max=3)) @ right, atol=1e-12)
    assert clipped.values[0] <= 3


@KINDS
def test_what_is_below_the_limit_is_the_same_map(linear_map):
    clipped = fast_clip(linear_map, 1.01 * float(spectrum(linear_map)[0]))
    assert clipped.map is linear_map
    assert clipped.steps == 0


def test_a_warm_start_saves_steps_of_the_search():
    conv = MAPS["zeros"]
    limit = 0.9 * float(spectrum(conv)[0])
    first = fast_clip(conv, limit)
    assert first.right.shape[1:] == conv.in_shape
    again = fast_clip(conv.with_weight(first.map.weight * 1.001), limit, start=first.right)
    assert spectrum(again.map)[0] <= limit * (1 + 1e-4)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, math.inf])
def test_a_limit_is_a_positive_number(limit):
    with pytest.raises(UsageError, match="positive"):
        fast_clip(MAPS["dense"], limit)


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e30, 1e150])
@pytest.mark.parametrize("kind", ["dense", "zeros", "circular", "strided"])
def test_sizes_do_not_matter(kind, size):
    linear_map = MAPS[kind].with_weight(MAPS[kind].weight * size)
    limit = 0.8 * float(bracket(linear_map).below.value)
    clipped = fast_clip(linear_map, limit).map
    plain = fast_clip(MAPS[kind], limit / size).map
    assert torch.allclose(clipped.weight / size, plain.weight, rtol=1e-3, atol=1e-3)
    assert bracket(clipped).above.value <= limit * (1 + 1e-3)


def test_a_limit_that_leaves_nothing():
    conv = MAPS["circular"]
    clipped = fast_clip(conv, 1e-12)
    assert 0 < bracket(clipped.map).above.value <= 1e-12 * (1 + 1e-4)


@pytest.mark.parametrize(
    "linear_map", [Dense(torch.zeros(3, 4)), Conv(torch.zeros(2, 2, 3, 3), 5, padding=1)]
)
def test_zero_weights_stay(linear_map):
    assert fast_clip(linear_map, 1.0).map is linear_map


@settings(max_examples=8, deadline=None)
@given(
    rank=st.integers(1, 3), share=st.floats(0.1, 0.99), stride=st.integers(1, 3), seed=st.integers(0, 1000)
)
def test_rank_deficient_kernels(rank, share, stride, seed):
    weight = torch.einsum("ro,ri,rhw->oihw", normal(rank, 4, seed=seed), normal(rank, 3), normal(rank, 3, 2))
    conv = Conv(weight, (5, 6), padding=1, stride=stride)
    limit = share * float(spectrum(conv)[0])
    assert spectrum(fast_clip(conv, limit).map)[0] <= limit * (1 + 1e-3)


def standing_out(rows, columns):
    """A random kernel and a smooth one of rank one, which a few singular values stand out for."""
    smooth = torch.outer(*(torch.tensor([1.0, 2, 1], dtype=torch.float64),) * 2) / 4
    left, right = normal(rows, seed=1), normal(columns, seed=2)
    spike = torch.einsum("o,i,hw->oihw", left / left.norm(), right / right.norm(), smooth)
    return 0.3 * normal(rows, columns, 3, 3) + spike


KEPT = {
    "zeros": Conv(standing_out(8, 8), 8, padding=1),
    "circular": Conv(standing_out(8, 8), 8, padding=1, padding_mode="circular"),
    "reflect": Conv(standing_out(8, 8), 7, padding=1, padding_mode="reflect"),
    "strided": Conv(standing_out(12, 8), 8, padding=1, stride=2),
    "grouped": Conv(torch.cat([standing_out(8, 6), standing_out(8, 6)]), 6, padding=1, stride=2, groups=2),
    "groups": Conv(normal(12, 6, 3, 3), 8, padding=1, groups=2),
    "transposed": Conv(standing_out(8, 8), 5, padding=1, stride=2, transposed=True),
}


def low(before, after, limit, least):
    """The largest change of a value below 0.9c, relative to it, or to `least`·c where it is smaller."""
    below = before < 0.9 * limit
    return ((after - before).abs() / before.clamp(min=least * limit))[below].max()


@pytest.mark.parametrize(
    ("kind", "share", "least"),
    [
        ("zeros", 0.95, 0.01),
        ("circular", 0.95, 1.0),
        ("reflect", 0.95, 0.01),
        ("strided", 0.95, 0.01),
        ("grouped", 0.95, 0.01),
        ("grouped", 0.6, 0.01),
        ("transposed", 0.95, 0.01),
        *(
            pytest.param(kind, 0.8, least, marks=pytest.mark.slow)
            for kind, least in (("zeros", 0.01), ("reflect", 0.01), ("strided", 0.01), ("grouped", 0.01))
        ),
        *(
            pytest.param(kind, 0.6, 0.01, marks=pytest.mark.slow)
            for kind in ("zeros", "strided", "transposed")
        ),
        pytest.param("circular", 0.9, 1.0, marks=pytest.mark.slow),
        pytest.param("groups", 0.95, 0.01, marks=pytest.mark.slow),
    ],
)
def test_values_below_nine_tenths_of_the_limit_stay(kind, share, least):
    before = spectrum(KEPT[kind])
    limit = share * float(before[0])
    near, kept = (spectrum(fast_clip(KEPT[kind], limit, keep=keep).map) for keep in (False, True))
    assert max(kept[0], near[0]) <= limit * (1 + 1e-3)
    assert low(before, kept, limit, least) < 0.01
    # The nearest weights alone do not do that.
    assert low(before, near, limit, 0.01) > 0.01


@pytest.mark.slow
def test_where_weights_are_too_few_less_moves_than_with_the_nearest():
    conv = Conv(torch.cat([standing_out(4, 4), standing_out(4, 4)]), 8, padding=1, groups=2)
    before = spectrum(conv)
    limit = 0.95 * float(before[0])
    near, kept = (
        low(before, spectrum(fast_clip(conv, limit, keep=keep).map), limit, 1.0) for keep in (False, True)
    )
    assert 0.01 < kept <= near / 2

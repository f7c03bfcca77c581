"""Windows of pools against torch itself: one-hot images say which windows read a cell."""

import math
import random

import pytest
import torch
from jacobian import jacobian
from small_graph import bound_of, raw_graph
from torch import nn

MAX = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
MEAN = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


def onehots(image):
    """Every image of one 1, the rest far below: (cells, 1, 1, *image)."""
    cells = math.prod(image)
    return torch.eye(cells, dtype=torch.float64).reshape(cells, 1, 1, *image)


def readers(pool, image):
    """The largest number of windows that read one cell."""
    return max(int((pool(one) == 1).sum()) for one in onehots(image))


def geometry(rng, axes, *, dilated):
    """Random settings that torch accepts."""
    k = [rng.randint(1, 4) for _ in range(axes)]
    return {
        "kernel_size": tuple(k),
        "stride": tuple(rng.randint(1, 3) for _ in range(axes)),
        "padding": tuple(rng.randint(0, n // 2) for n in k),
        "ceil_mode": rng.random() < 0.5,
        **({"dilation": tuple(rng.randint(1, 2) for _ in range(axes))} if dilated else {}),
    }


def cases(count, *, dilated):
    rng = random.Random(count)
    found = []
    while len(found) < count:
        axes = rng.choice([1, 2, 2, 3])
        image = tuple(rng.randint(2, 4 if axes == 3 else 7) for _ in range(axes))
        settings = geometry(rng, axes, dilated=dilated)
        try:
            # Average pools refuse more: a window larger than the image.
            pool = (MAX if dilated else MEAN)[axes](**settings)
            pool(torch.zeros(1, 1, *image))
        except RuntimeError:
            continue
        found.append((axes, image, settings))
    return found


@pytest.mark.parametrize(("axes", "image", "settings"), cases(25, dilated=True))
def test_max_pool_gains_the_root_of_the_overlap_and_attains_it(axes, image, settings):
    pool = MAX[axes](**settings)
    bound = bound_of(raw_graph(pool, 1, 1, *image)).value
    most = readers(pool, image)
    assert math.sqrt(most) <= bound <= math.sqrt(most) * (1 + 1e-15)
    zero = pool(torch.zeros(1, 1, *image, dtype=torch.float64))
    attained = max(float((pool(one) - zero).norm()) for one in onehots(image))
    assert attained == pytest.approx(bound, rel=1e-14)


@pytest.mark.parametrize(("axes", "image", "settings"), cases(26, dilated=False))
@pytest.mark.parametrize("include", [True, False])
def test_average_pool_has_the_norm_of_its_matrix(axes, image, settings, include):
    pool = MEAN[axes](**settings, count_include_pad=include)
    shape = (1, 2, *image)
    norm = float(torch.linalg.matrix_norm(jacobian(pool, torch.zeros(shape)), 2))
    bound = bound_of(raw_graph(pool, *shape)).value
    assert norm * (1 - 1e-13) <= bound <= norm * (1 + 1e-8)


@pytest.mark.parametrize("divisor", [1, 3, -2])
def test_a_divisor_of_its_own_replaces_all_others(divisor):
    pool = nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, divisor_override=divisor)
    norm = float(torch.linalg.matrix_norm(jacobian(pool, torch.zeros(1, 1, 6, 7)), 2))
    bound = bound_of(raw_graph(pool, 1, 1, 6, 7)).value
    assert norm * (1 - 1e-13) <= bound <= norm * (1 + 1e-8)


@pytest.mark.parametrize(("n", "m"), [(7, 3), (5, 2), (10, 7), (3, 5), (4, 4), (7, 1), (2, 7), (9, 4)])
def test_adaptive_pools_count_their_uneven_windows(n, m):
    most, mean = nn.AdaptiveMaxPool1d(m), nn.AdaptiveAvgPool1d(m)
    overlap = readers(most, (n,))
    bound = bound_of(raw_graph(most, 1, 1, n)).value
    assert math.sqrt(overlap) <= bound <= math.sqrt(overlap) * (1 + 1e-15)
    norm = float(torch.linalg.matrix_norm(jacobian(mean, torch.zeros(1, 1, n)), 2))
    bound = bound_of(raw_graph(mean, 1, 1, n)).value
    assert norm * (1 - 1e-13) <= bound <= norm * (1 + 1e-8)


def test_adaptive_axes_are_independent():
    most = nn.AdaptiveMaxPool2d((3, 4))
    bound = bound_of(raw_graph(most, 1, 2, 7, 6)).value
    assert bound == pytest.approx(math.sqrt(readers(most, (7, 6))), rel=1e-14)

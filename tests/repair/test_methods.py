"""Every method brings every kind of map to the limit, or says that it has no form for it."""

import pytest
import torch

from lipaudit.errors import NotCovered, UsageError
from lipaudit.repair.fourier_clip import clip_and_crop, clip_on_grid
from lipaudit.repair.methods import METHODS, method_called
from lipaudit.spectral import Conv, Dense, bracket


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MAPS = {
    "dense": Dense(normal(5, 8)),
    "zeros": Conv(normal(4, 3, 3, 3), 6, padding=1),
    "circular": Conv(normal(4, 4, 3, 3), 6, padding=1, padding_mode="circular"),
    "strided": Conv(normal(4, 3, 3, 3), 8, padding=1, stride=2),
    "grouped": Conv(normal(4, 2, 3, 3), 6, padding=1, groups=2),
    "dilated": Conv(normal(3, 2, 3, 3), 8, padding=2, dilation=2),
    "transposed": Conv(normal(3, 4, 4, 4), 4, padding=1, stride=2, transposed=True),
    "one axis": Conv(normal(4, 3, 5), 12, padding=2),
}
REACHED = {"fastclip": 1e-3, "rescaling": 1e-6, "spectral-rescaling": 1e-6, "fft": 0.4}
"""How far above the limit a method may end: proving and scaling come after it."""


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("kind", MAPS)
def test_norms_go_down_to_the_limit(kind, method):
    linear_map = MAPS[kind]
    limit = 0.6 * bracket(linear_map).below.value
    found, _ = method.clip(linear_map, limit, None)
    norm = float(torch.linalg.matrix_norm(found.as_matrix(), 2))
    assert norm <= limit * (1 + REACHED[method.name])
    assert norm >= 0.5 * limit
    assert found.weight.shape == linear_map.weight.shape


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("kind", ["dense", "circular", "strided"])
def test_what_is_small_stays(kind, method):
    found, _ = method.clip(MAPS[kind], 2 * bracket(MAPS[kind]).above.value, None)
    assert torch.allclose(found.weight, MAPS[kind].weight, rtol=1e-12, atol=1e-12)


def test_rescaling_moves_all_values_by_one_factor():
    found, _ = method_called("rescaling").clip(MAPS["dense"], 1.0, None)
    before, after = (torch.linalg.svdvals(m.as_matrix()) for m in (MAPS["dense"], found))
    assert torch.allclose(after / before, (after / before)[0].expand_as(after))


def test_frequencies_of_a_kernel_as_large_as_the_image_are_clipped_exactly():
    conv = Conv(normal(3, 3, 5, 5), 5, padding=2, padding_mode="circular")
    before = torch.linalg.svdvals(conv.as_matrix())
    limit = 0.5 * float(before[0])
    for found in (clip_and_crop(conv, limit), clip_on_grid(conv, limit, float(before[0]))):
        after = torch.linalg.svdvals(found.as_matrix())
        assert torch.allclose(after, before.clamp(max=limit), rtol=2e-3)


def test_the_nearest_kernel_on_the_grid_is_nearer_than_the_cropped_one():
    conv = MAPS["circular"]
    norm = float(torch.linalg.matrix_norm(conv.as_matrix(), 2))
    near = clip_on_grid(conv, 0.5 * norm, norm)
    cropped = clip_and_crop(conv, 0.5 * norm, 200)
    assert torch.linalg.matrix_norm(near.as_matrix(), 2) <= 0.5 * norm * 1.01
    assert torch.dist(near.weight, conv.weight) <= torch.dist(cropped.weight, conv.weight) * 1.001


def test_forms_that_are_missing_are_told():
    with pytest.raises(NotCovered, match="two axes"):
        method_called("spectral-rescaling").clip(Conv(normal(2, 2, 2, 2, 2), 4), 0.1, None)
    with pytest.raises(NotCovered, match="longer"):
        method_called("fft").clip(Conv(normal(2, 2, 5, 5), 3, padding=2, padding_mode="circular"), 0.1, None)
    with pytest.raises(UsageError, match="choose") as told:
        method_called("fats")
    assert "fastclip" in told.value.hint

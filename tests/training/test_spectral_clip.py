"""The callback: norms afterwards, what it leaves alone, batch norm, warm starts, checkpoints, hooks."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from oracles import spectral_norm
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm as constrained
from torch.nn.utils.parametrizations import weight_norm
from training_nets import KINDS, filled, linear_matrix, norm_of

import lipaudit
from lipaudit.errors import InputRefused, UsageError
from lipaudit.spectral.block_lanczos import block_lanczos
from lipaudit.training import spectral_clip
from lipaudit.training.layer import channel_scale

SMALL = 1e-3
"""What a search from below may have missed."""


def example(shape):
    return torch.zeros(2, *shape, dtype=torch.float64)


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_modules_compute_keeps_within_the_limit(kind, normed):
    layer, shape = filled(KINDS[kind])
    model = nn.Sequential(layer, norm_of(layer, shape)) if normed else nn.Sequential(layer)
    before = spectral_norm(linear_matrix(model, shape))
    limit = 0.7 * before
    clip = lipaudit.SpectralClip(model, limit, example=example(shape))
    clip.clip()
    after = spectral_norm(linear_matrix(model, shape))
    assert limit * (1 - SMALL) <= after <= limit * (1 + SMALL)
    (reading,) = clip.history
    assert reading.clipped
    assert reading.values[0] == pytest.approx(before, rel=SMALL)
    assert reading.norm == pytest.approx(after, rel=SMALL)
    assert clip.spectra == {"0": reading.values}


@pytest.mark.parametrize("kind", ["dense", "strided"])
def test_what_is_within_the_limit_is_not_touched(kind):
    layer, shape = filled(KINDS[kind])
    old = layer.weight.detach().clone()
    limit = spectral_norm(linear_matrix(layer, shape)) * 1.001
    clip = lipaudit.SpectralClip(layer, limit, example=example(shape))
    clip.clip()
    assert torch.equal(layer.weight, old)
    assert not clip.history[0].clipped


def test_smaller_singular_values_of_a_matrix_stay():
    layer = nn.Linear(5, 5).double()
    lipaudit.SpectralClip(layer, 0.4).clip()
    values = torch.linalg.svdvals(layer.weight.detach())
    torch.manual_seed(0)
    layer, _ = filled(lambda: (nn.Linear(5, 5), (5,)))
    old = torch.linalg.svdvals(layer.weight.detach())
    limit = float(old[1] + old[2]) / 2
    lipaudit.SpectralClip(layer, limit).clip()
    values = torch.linalg.svdvals(layer.weight.detach())
    assert torch.allclose(values, old.clamp(max=limit), rtol=1e-6)


def test_lone_batch_norms_are_clipped():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([3.0, -2.0, 0.5]))
    clip = lipaudit.SpectralClip(model, 1.0)
    clip.clip()
    assert torch.allclose(model[0].weight, torch.tensor([1.0, -1.0, 0.5]), rtol=1e-4)
    assert clip.history[0].values == pytest.approx((3, 2, 0.5), rel=1e-4)


def test_batch_norm_cannot_undo_it():
    """The same input once more: statistics hardly move, since every kernel keeps its length."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)).double()
    with torch.no_grad():
        model[1].weight.mul_(3)
    x = torch.randn(32, 2, 6, 6, dtype=torch.float64)
    for _ in range(80):
        model(x)
    before = spectral_norm(linear_matrix(copy.deepcopy(model), (2, 6, 6)))
    lipaudit.SpectralClip(model, before / 4, example=x).clip()
    for _ in range(80):
        model(x)
    assert spectral_norm(linear_matrix(model, (2, 6, 6))) < before / 3


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )


def trained(model, clip, steps, optimizer=None):
    x, y = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(1)), torch.arange(24) % 3
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    clipped = []
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        clipped.append(clip.step())
    return clipped


def test_training_keeps_the_limit():
    model = small()
    clip = lipaudit.SpectralClip(model, 0.5, every=3)
    assert trained(model, clip, 7) == [False, False, True, False, False, True, False]
    assert not any(module._forward_hooks for module in model.modules())
    clip.clip()
    first = clip._structure.layers[0]
    assert first.norm is model[1]
    assert first.image == (4, 4)
    for layer in clip._structure.layers:
        assert lipaudit.bracket(layer.linear_map()).above.value <= 0.5 * (1 + SMALL)
    assert [reading.step for reading in clip.history] == [3, 3, 6, 6, 7, 7]


def test_searches_start_from_the_vectors_of_the_last_time(monkeypatch):
    starts = []

    def watched(*args, **kwargs):
        found = block_lanczos(*args, **kwargs)
        starts.append((kwargs["start"] is not None, found.steps))
        return found

    monkeypatch.setattr(spectral_clip, "block_lanczos", watched)
    layer = nn.Conv2d(2, 3, 3, padding=1)
    clip = lipaudit.SpectralClip(layer, 9, example=torch.zeros(1, 2, 8, 8))
    clip.clip()
    with torch.no_grad():
        layer.weight.mul_(1 + 1e-4 * torch.randn_like(layer.weight))
    clip.clip()
    assert [warm for warm, _ in starts] == [False, True]
    assert starts[1][1] < starts[0][1]


def test_a_checkpoint_goes_on_where_it_was_saved():
    model = small()
    clip = lipaudit.SpectralClip(model, 0.5, every=2)
    trained(model, clip, 3)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "clip": clip.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other = small()
    other.load_state_dict(state["model"])
    resumed = lipaudit.SpectralClip(other, 0.5, every=2)
    resumed.load_state_dict(state["clip"])
    assert resumed.history == clip.history
    assert trained(model, clip, 3) == trained(other, resumed, 3) == [True, False, True]
    assert resumed.history == clip.history
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_a_foreign_state_is_refused():
    clip = lipaudit.SpectralClip(nn.Linear(2, 2))
    with pytest.raises(UsageError, match="no state"):
        clip.load_state_dict({"steps": 1})
    with pytest.raises(UsageError, match="another model"):
        clip.load_state_dict({"steps": 1, "right": {"head": torch.zeros(1, 2)}, "history": []})


def test_frozen_layers_are_read_only():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].weight.requires_grad_(False)
    old = model[0].weight.clone()
    clip = lipaudit.SpectralClip(model, 1e-2)
    clip.clip()
    assert torch.equal(model[0].weight, old)
    assert [reading.clipped for reading in clip.history] == [False, True]
    assert clip.history[0].norm > 0.01


def test_shared_weights_suit_every_layer_that_uses_them():
    first, second = (
        nn.Conv2d(2, 2, 3, padding=1),
        nn.Conv2d(2, 2, 3, stride=2, padding_mode="circular", padding=2),
    )
    second.weight = first.weight
    with torch.no_grad():
        first.weight.mul_(4)
    model = nn.Sequential(first, second).double()
    second.weight = first.weight
    lipaudit.SpectralClip(model, 1.0, example=example((2, 6, 6))).clip()
    for layer in model:
        assert spectral_norm(linear_matrix(layer, (2, 6, 6))) <= 1 + SMALL


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
def test_a_convolution_suits_images_of_every_size_that_it_meets(mode):
    torch.manual_seed(2)
    conv = nn.Conv2d(2, 2, 3, padding=1, padding_mode=mode).double()
    clip = lipaudit.SpectralClip(conv, 0.5)
    shapes = [(2, 8, 8), (2, 3, 16)]
    for shape in shapes:
        conv(torch.zeros(1, *shape, dtype=torch.float64))
    clip.clip()
    for shape in shapes:
        assert spectral_norm(linear_matrix(conv, shape)) <= 0.5 * (1 + SMALL)
    assert set(clip.spectra) == {" @ 8×8", " @ 3×16"}
    clip.load_state_dict(clip.state_dict())


def test_a_batch_norm_over_positions_is_clipped_by_itself():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    nn.init.uniform_(model[1].running_var, 0.1, 2)
    nn.init.constant_(model[1].weight, 2.0)
    lipaudit.SpectralClip(model, 0.9, example=torch.zeros(2, 4, 3, dtype=torch.float64)).clip()
    assert spectral_norm(linear_matrix(model[:1], (3,))) <= 0.9 * (1 + SMALL)
    assert spectral_norm(linear_matrix(model, (4, 3))) <= 0.9**2 * (1 + SMALL)


def test_what_stands_at_the_limit_is_only_measured(monkeypatch):
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Flatten(), nn.Linear(144, 3))
    clip = lipaudit.SpectralClip(model, 0.3, example=torch.zeros(1, 2, 6, 6))
    clip.clip()
    monkeypatch.setattr(spectral_clip, "fast_clip", None)
    for _ in range(3):
        clip.clip()
    assert all(reading.norm <= 0.3 * (1 + 1e-4) for reading in clip.history)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_weights_are_clipped_up_to_their_rounding(dtype):
    layer = nn.Linear(6, 6).to(dtype)
    with torch.no_grad():
        layer.weight.mul_(10)
    clip = lipaudit.SpectralClip(layer, 1.0)
    clip.clip()
    assert layer.weight.dtype == dtype
    assert layer.weight.requires_grad
    error = 6 * torch.finfo(dtype).eps
    assert float(torch.linalg.matrix_norm(layer.weight.detach().double(), 2)) <= 1 + error + SMALL


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("normed", [False, True])
def test_what_is_told_is_what_was_stored(normed, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.BatchNorm1d(6)).to(dtype)
    with torch.no_grad():
        model[0].weight.mul_(10)
        nn.init.uniform_(model[2].weight, 3, 5)
        nn.init.uniform_(model[2].running_var, 0.5, 2)
    clip = lipaudit.SpectralClip(model[:2] if not normed else model, 1.0)
    clip.clip()
    told = {reading.layer: reading.norm for reading in clip.history}
    stored = float(torch.linalg.matrix_norm(model[0].weight.detach().double(), 2))
    assert told["0"] == pytest.approx(stored, rel=1e-6)
    if normed:
        assert told["2"] == float(channel_scale(model[2]).abs().amax().detach())


def test_weight_norm_is_assigned_through():
    layer = weight_norm(nn.Linear(4, 4))
    with torch.no_grad():
        layer.weight = 5 * torch.eye(4) + 0.1
    lipaudit.SpectralClip(layer, 1.0).clip()
    assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(1, rel=SMALL)


def test_spectral_norm_and_clipping_exclude_each_other():
    with pytest.raises(UsageError, match="parametrised"):
        lipaudit.SpectralClip(constrained(nn.Linear(4, 4)))


def test_it_works_in_both_modes_and_changes_neither():
    for training in (True, False):
        model = small().train(training)
        model(torch.randn(4, 1, 4, 4))
        statistics = model[1].running_var.clone()
        lipaudit.SpectralClip(model, 0.5, example=torch.zeros(1, 1, 4, 4)).clip()
        assert all(module.training is training for module in model.modules())
        assert torch.equal(model[1].running_var, statistics)


def test_hooks_are_gone_when_it_closes():
    model = small()
    with lipaudit.SpectralClip(model):
        assert model[0]._forward_hooks
    assert not any(module._forward_hooks for module in model.modules())


def test_nan_names_its_layer():
    model = small()
    with torch.no_grad():
        model[4].weight[0, 0] = math.nan
    clip = lipaudit.SpectralClip(model, example=torch.zeros(1, 1, 4, 4))
    with pytest.raises(InputRefused, match="layer '4'"):
        clip.clip()


def test_nan_in_a_batch_norm_names_it():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 2))
    model[0].running_var[1] = math.nan
    with pytest.raises(InputRefused, match="layer '0'"):
        lipaudit.SpectralClip(model).clip()


def test_what_cannot_be_meant_is_refused():
    for wrong in ({"limit": 0}, {"limit": math.nan}, {"limit": math.inf}, {"every": 0}, {"top": 0}):
        with pytest.raises(UsageError, match="does not allow"):
            lipaudit.SpectralClip(nn.Linear(2, 2), **wrong)
    with pytest.raises(UsageError, match="layer '' met no image"):
        lipaudit.SpectralClip(nn.Conv2d(1, 1, 3)).clip()

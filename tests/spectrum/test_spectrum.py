"""The singular values of a network's linear parts: against dense SVDs of what the parts compute."""

from __future__ import annotations

import math

import pytest
import tiny_models as tiny
import torch
from small_graph import simplified
from torch import nn

from lipaudit import spectrum
from lipaudit.analyze import Plan, analyze
from lipaudit.blocks import find_claims
from lipaudit.errors import UsageError
from lipaudit.report.spectrum.record import Interrupted
from lipaudit.spectrum import find_spectrum, leading
from lipaudit.spectrum.leading import Leading, Tried, find_leading, not_below
from lipaudit.spectrum.parts import linear_parts
from lipaudit.spectrum.whole import find_whole

TRIED = Tried(top=6, tolerance=1e-6, memory=2**31)


def parts_of(module, *shape):
    """The linear parts of a module's simplified graph."""
    torch.manual_seed(0)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_var = torch.linspace(0.1, 3, len(child.running_var))
            child.running_mean = torch.linspace(-1, 1, len(child.running_mean))
    graph = simplified(module, *shape)
    plan = Plan(profile="fast")
    layers = analyze(graph, plan)
    return linear_parts(graph, layers, find_claims(graph, layers, plan))


def true_values(part):
    """All singular values, falling, from the part's own columns."""
    cells = math.prod(part.in_shape)
    units = torch.eye(cells, dtype=torch.float64).reshape(-1, *part.in_shape)
    matrix = part.run(units).flatten(1) - part.run(torch.zeros_like(units[:1])).flatten(1)
    return torch.linalg.svdvals(matrix)


def spread(values):
    """Each value as often as it is there."""
    return torch.tensor([v for v, count in values for _ in range(count)], dtype=torch.float64)


class Times(nn.Module):
    """A multiple of the identity."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


class Applied(nn.Module):
    """A function."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


MODULES = {
    "conv": (nn.Conv2d(2, 3, 3, padding=1), (1, 2, 5, 5)),
    "strided groups": (nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2), (1, 4, 6, 6)),
    "circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (1, 2, 6, 6)),
    "circular, odd image": (nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"), (1, 2, 7)),
    "circular, strided": (nn.Conv1d(2, 3, 3, 2, 1, padding_mode="circular"), (1, 2, 8)),
    "reflect": (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), (1, 2, 5, 5)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3, 2, 1), (1, 2, 4, 4)),
    "1×1": (nn.Conv2d(3, 5, 1), (1, 3, 4, 4)),
    "patches": (nn.Conv2d(3, 4, 2, stride=2), (1, 3, 6, 6)),
    "grouped patches": (nn.Conv2d(4, 4, 2, stride=3, groups=2), (1, 4, 7, 7)),
    "cells that nothing reads": (nn.Conv1d(2, 3, 1, stride=3), (1, 2, 4)),
    "groups with gaps": (nn.Conv1d(4, 6, 1, stride=3, groups=2), (1, 4, 7)),
    "transposed patches": (nn.ConvTranspose2d(3, 2, 2, stride=2), (1, 3, 3, 3)),
    "conv+BN": (nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)), (1, 2, 5, 5)),
    "average pool": (nn.AvgPool2d(3, 2, 1), (1, 2, 7, 7)),
    "resize": (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 4, 4)),
    "nearest upsampling": (nn.Upsample(scale_factor=2), (1, 2, 3, 3)),
    "uneven upsampling": (nn.Upsample(size=(5, 7)), (1, 1, 3, 4)),
    "tiles": (Applied(lambda x: x.repeat(1, 3)), (1, 4)),
    "indices that occur twice": (Applied(lambda x: x[:, [0, 2, 2, 1, 2]]), (1, 4)),
    "reflected": (Applied(lambda x: nn.functional.pad(x, (2, 2), mode="reflect")), (1, 1, 5)),
    "joined with itself": (Applied(lambda x: torch.cat([x, x[:, :2]], 1)), (1, 4)),
    "added to itself": (Applied(lambda x: x + x), (1, 4)),
    "shifted by more than it has": (Applied(lambda x: x + torch.ones(3, 4, dtype=x.dtype)), (1, 4)),
    "unscaled Fourier transform": (
        Applied(lambda x: torch.view_as_real(torch.fft.fft(x))),
        (1, 6),
    ),
    "dense": (nn.Linear(7, 5), (1, 7)),
    "dense over positions": (nn.Linear(7, 5), (1, 3, 7)),
    "one factor for all": (Times(-21.0), (1, 3, 4)),
    "scaling": (nn.BatchNorm2d(3), (1, 3, 4, 4)),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_layer_agrees_with_its_dense_svd(name):
    module, shape = MODULES[name]
    (part,) = parts_of(module, *shape)
    truth = true_values(part)
    assert float(truth[0]) <= part.bound.value * (1 + 1e-14)  # the decomposition rounds
    found = find_leading(part, TRIED)
    assert found.settled
    values = spread(found.values)[: len(truth)]
    assert bool((values <= truth[: len(values)] * (1 + 1e-14) + 1e-14).all())
    assert bool((values >= truth[: len(values)] * (1 - 1e-6) - 1e-8 * truth[0]).all())
    assert sum(count for _, count in find_leading(part, Tried(100, 1e-6, 2**31)).values) == len(truth)
    whole = find_whole(part)
    assert torch.allclose(spread(whole.values), truth, rtol=1e-9, atol=1e-9)


def test_a_search_that_is_too_dear_ends_and_says_so(monkeypatch):
    (part,) = parts_of(nn.Conv2d(4, 4, 3, padding=1), 1, 4, 12, 12)
    monkeypatch.setattr(leading, "MULTIPLICATIONS", 0)
    monkeypatch.setattr(leading, "LEAST_STEPS", 5)
    found = find_leading(part, TRIED)
    assert (found.steps, found.settled) == (5, False)
    values = spread(found.values)
    assert bool((values <= true_values(part)[: len(values)]).all())


def test_the_cheaper_the_closer():
    tried = Tried(1, 1e-4, 2**30)
    assert [tried.closeness(work) for work in (1e6, 1e7, 1e8)] == pytest.approx([1e-6, 1e-5, 1e-4])
    assert Tried(1, 1e-6, 2**30).closeness(1) == 1e-6


def test_the_audits_witness_is_never_left_out(tmp_path, monkeypatch):
    path = tiny.write_onnx(tmp_path / "model.onnx", 2 * tiny.WEIGHT)
    poor = Leading(((1.5, 1), (1.25, 1)), "a poor search")
    monkeypatch.setattr(spectrum, "find_leading", lambda *_: poor)
    (layer,) = find_spectrum(path, top=2, device="cpu").layers
    assert [group.value for group in layer.top] == [pytest.approx(2, rel=1e-6), 1.25]
    assert layer.top[0].value <= 2
    assert not_below(poor, 1.25) is poor
    assert not_below(Leading(), 1.0).values == ()


def test_a_region_is_one_linear_map():
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 5))
    parts = parts_of(module, 1, 1, 6, 6)
    region = parts[-1]
    assert len(region.region.nodes) > 1
    truth = true_values(region)
    values = spread(find_leading(region, TRIED).values)
    assert bool((values <= truth[: len(values)] * (1 + 1e-14)).all())
    assert torch.allclose(values[:5], truth[:5], rtol=1e-6)
    assert float(truth[0]) <= region.bound.value < math.prod(p.bound.value for p in parts[:-1])


def test_frequencies_come_in_pairs():
    (part,) = parts_of(nn.Conv1d(1, 1, 5, padding=2, padding_mode="circular"), 1, 1, 9)
    whole = find_whole(part)
    values = [value for value, _ in whole.values]
    pairs = sorted(values.count(value) for value in set(values))
    assert pairs == [1, 2, 2, 2, 2]  # ω = 0 alone, and four ±ω
    assert "exact" in whole.note


def test_what_is_too_large_for_a_matrix_says_so():
    (part,) = parts_of(nn.Conv2d(8, 8, 3, padding=1), 1, 8, 24, 24)
    whole = find_whole(part)
    assert whole.values is None
    assert whole.note.startswith("not available, because it is no circular convolution")


def test_what_takes_too_much_memory_says_so():
    (part,) = parts_of(nn.Conv2d(2, 2, 3), 1, 2, 9, 9)
    found = find_leading(part, Tried(3, 1e-6, 2**10))
    assert found.values == ()
    assert "--memory" in found.missing


def test_a_layer_of_zeros_has_zeros():
    module = nn.Linear(4, 3)
    nn.init.zeros_(module.weight)
    (part,) = parts_of(module, 1, 4)
    assert {value for value, _ in find_leading(part, TRIED).values} == {0.0}


def test_activations_moves_and_signs_are_no_parts():
    module = nn.Sequential(nn.Flatten(), Times(-1.0), nn.ReLU(), nn.MaxPool1d(2))
    assert parts_of(module, 1, 2, 4) == ()
    moves = Applied(lambda x: torch.cat([x.flip(1)[:, :2], x[:, :2].roll(1, 1)], 1))
    assert parts_of(moves, 1, 4) == ()
    branches = Applied(lambda x: x.relu() + x.sigmoid())
    assert parts_of(branches, 1, 4) == ()
    orthonormal = Applied(lambda x: torch.view_as_real(torch.fft.fft(x, norm="ortho")))
    assert parts_of(orthonormal, 1, 6) == ()


def test_the_whole_use_case(tmp_path):
    path = tiny.write_onnx(tmp_path / "model.onnx", 2 * tiny.WEIGHT)
    found = find_spectrum(path, top=2, everything=True, device="cpu")
    (layer,) = found.layers
    assert [(group.value, group.count) for group in layer.top] == [(pytest.approx(2, rel=1e-8), 2)]
    assert sum(group.count for group in layer.everything) == layer.total == 3
    assert layer.top[0].value <= layer.bound.value
    assert found.exit_code == 0


def test_an_interrupt_leaves_what_is_finished(monkeypatch, tmp_path):
    path = tiny.write_onnx(tmp_path / "model.onnx")
    (layer,) = find_spectrum(path, device="cpu").layers

    def rows(*_, **__):
        yield layer
        raise KeyboardInterrupt

    monkeypatch.setattr(spectrum, "_rows", rows)
    monkeypatch.setattr(spectrum, "linear_parts", lambda *given: 2 * linear_parts(*given))
    with pytest.raises(Interrupted) as stopped:
        find_spectrum(path, device="cpu")
    found = stopped.value.spectrum
    assert (found.layers, found.unreached, found.exit_code) == ((layer,), 1, 130)


def test_an_interrupt_before_the_first_layer_is_one(monkeypatch, tmp_path):
    def rows(*_, **__):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(spectrum, "_rows", rows)
    with pytest.raises(KeyboardInterrupt) as stopped:
        find_spectrum(tiny.write_onnx(tmp_path / "model.onnx"), device="cpu")
    assert not isinstance(stopped.value, Interrupted)


def test_a_scaling_between_activations_is_a_part():
    module = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4), nn.ReLU(), Times(21.0), nn.ReLU())
    nn.init.constant_(module[1].weight, 5.0)
    batch_norm, times = parts_of(module, 1, 4)
    assert find_leading(times, TRIED).values == ((21.0, 4),)
    ((value, count),) = find_leading(batch_norm, TRIED).values
    assert count == 4
    assert 4.99 < value <= batch_norm.bound.value


@pytest.mark.parametrize(("top", "more"), [(2, True), (3, False)])
def test_equal_values_that_the_number_asked_for_cut_off_are_marked(tmp_path, top, more):
    path = tiny.write_onnx(tmp_path / "model.onnx")  # orthogonal, 3 values
    (layer,) = find_spectrum(path, top=top, device="cpu").layers
    assert [(group.count, group.more) for group in layer.top] == [(top, more)]


def test_patterns_name_layers(tmp_path):
    path = tiny.write_onnx(tmp_path / "model.onnx")
    assert find_spectrum(path, layers=["*"], device="cpu").not_asked == 0
    with pytest.raises(UsageError, match="no linear layer is called so"):
        find_spectrum(path, layers=["nothing*"], device="cpu")


@pytest.mark.parametrize("options", [{"top": 0}, {"top": 10**6}, {"threat_space": "moon"}])
def test_what_cannot_be_meant(tmp_path, options):
    with pytest.raises(UsageError):
        find_spectrum(tiny.write_onnx(tmp_path / "model.onnx"), device="cpu", **options)

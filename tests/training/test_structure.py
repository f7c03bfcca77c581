"""What counts of a module, which batch norm belongs to which layer, and what is refused."""

from __future__ import annotations

import pytest
import torch
from oracles import spectral_norm
from torch import nn
from torch.nn.utils import weight_norm as old_weight_norm
from training_nets import KINDS, filled, linear_matrix, norm_of

from lipaudit.errors import UsageError
from lipaudit.layers import CayleyLinear, MaxMin
from lipaudit.training.layer import channel_scale
from lipaudit.training.structure import Structure


class Each(nn.Module):
    """One convolution on an image, and on another one of the same number of cells."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        return self.conv(x).flatten(1) + self.conv(x.reshape(*x.shape[:2], 4, 16)).flatten(1)


class Block(nn.Module):
    """A convolution and a batch norm that only their forward pass brings together, with a skip connection."""

    def __init__(self):
        super().__init__()
        self.second, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.first, self.lone = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        return x + self.norm(self.first(self.lone(self.second(x).relu())))


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_map_is_what_the_modules_compute(kind, normed):
    layer, shape = filled(KINDS[kind])
    model = nn.Sequential(layer, norm_of(layer, shape)) if normed else nn.Sequential(layer)
    structure = Structure.seen(model, torch.zeros(2, *shape, dtype=torch.float64))
    (found,) = structure.layers
    assert (found.norm is not None) is normed
    assert structure.lone_norms == {}
    truth = linear_matrix(model, shape)
    assert torch.allclose(found.linear_map().as_matrix(), truth, atol=1e-12)
    x = torch.randn(2, *shape, dtype=torch.float64)
    assert torch.allclose(found.apply(found.weight(), x).flatten(1), x.flatten(1) @ truth.T, atol=1e-12)


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_comes_back(kind, learns):
    layer, shape = filled(KINDS[kind])
    norm = norm_of(layer, shape).requires_grad_(learns)
    (found,) = Structure.of(nn.Sequential(layer, norm)).layers
    old, gamma = layer.weight.detach().clone(), norm.weight.detach().clone()
    wanted = torch.randn_like(old)
    found.store(wanted)
    assert torch.allclose(found.weight(), wanted)
    lengths = torch.linalg.vector_norm(found._rows(layer.weight), dim=(1, 2))
    kept = torch.linalg.vector_norm(found._rows(old), dim=(1, 2))
    assert torch.allclose(lengths, kept) is learns
    assert torch.equal(norm.weight, gamma) is not learns


def test_a_channel_without_scale_keeps_its_weight():
    layer, norm = nn.Linear(3, 2), nn.BatchNorm1d(2)
    norm.weight.data[0] = 0
    (found,) = Structure.of(nn.Sequential(layer, norm)).layers
    old = layer.weight.detach().clone()
    found.store(torch.ones(2, 3))
    assert torch.equal(layer.weight[0], old[0])
    assert torch.allclose(found.weight(), torch.tensor([[0.0] * 3, [1.0] * 3]))


def test_a_forward_pass_shows_who_follows_whom():
    block = Block().train()
    structure = Structure.seen(block, torch.randn(2, 3, 5, 4))
    assert {layer.name: layer.image for layer in structure.layers} == {"first": (5, 4), "second": (5, 4)}
    assert {layer.name: layer.norm for layer in structure.layers} == {"first": block.norm, "second": None}
    assert structure.lone_norms == {"lone": block.lone}
    assert block.training
    assert block.lone.training
    assert block.lone.num_batches_tracked == 0
    assert not any(module._forward_hooks for module in block.modules())


def test_without_one_only_sequences_tell():
    assert set(Structure.of(Block()).lone_norms) == {"norm", "lone"}
    sequence = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    structure = Structure.of(sequence)
    assert structure.layers[0].norm is sequence[1]
    assert set(structure.lone_norms) == {"3"}


def test_a_batch_norm_that_two_layers_share_counts_by_itself():
    norm = nn.BatchNorm1d(3)
    model = nn.Sequential(nn.Linear(3, 3), norm, nn.ReLU(), nn.Linear(3, 3), norm)
    for structure in (Structure.of(model), Structure.seen(model, torch.randn(4, 3))):
        assert [layer.norm for layer in structure.layers] == [None, None]
        assert list(structure.lone_norms) == ["1"]


def test_a_layer_called_twice_counts_once_at_its_largest_image():
    conv = nn.Conv2d(1, 1, 3, padding=1)
    model = nn.Sequential(conv, nn.MaxPool2d(2), conv)
    (layer,) = Structure.seen(model, torch.randn(1, 1, 8, 6)).layers
    assert layer.image == (8, 6)


def test_a_batch_norm_over_positions_follows_no_dense_layer():
    """It divides along the second axis, the outputs lie on the last one."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    structure = Structure.seen(model, torch.randn(2, 4, 3))
    assert structure.layers[0].norm is None
    assert list(structure.lone_norms) == ["1"]
    assert Structure.seen(model, torch.randn(2, 3)).layers[0].norm is model[1]
    unbatched = nn.Sequential(nn.Conv1d(2, 5, 3, padding=1), nn.BatchNorm1d(5))
    assert Structure.seen(unbatched, torch.randn(2, 5)).layers[0].norm is None


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect"])
def test_images_of_several_sizes(mode):
    conv = nn.Conv2d(1, 1, 3, padding=1, padding_mode=mode)
    (layer,) = Structure.seen(Each(conv), torch.randn(1, 1, 8, 8)).layers
    assert layer.image == (8, 16)
    names = ["conv"] if mode == "zeros" else ["conv @ 8×8", "conv @ 4×16"]
    assert [one.name for one in layer.sized()] == names
    assert [one.image for one in layer.sized()] == ([(8, 16)] if mode == "zeros" else [(8, 8), (4, 16)])


def test_layers_of_this_package_have_constant_one():
    model = nn.Sequential(CayleyLinear(4, 4), MaxMin(), nn.Linear(4, 2))
    assert [layer.name for layer in Structure.of(model).layers] == ["2"]


class Own(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class OwnConv(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return 2 * super()._conv_forward(x, weight, bias)


def assigned(layer):
    layer.forward = lambda x: 2 * x
    return layer


REFUSED = {
    "embedding": (lambda: nn.Embedding(3, 4), "no rule"),
    "attention": (lambda: nn.MultiheadAttention(4, 2), "no rule"),
    "prelu": (nn.PReLU, "no rule"),
    "layer norm without parameters": (lambda: nn.LayerNorm(4, elementwise_affine=False), "no rule"),
    "instance norm": (lambda: nn.InstanceNorm2d(4), "no rule"),
    "batch norm without statistics": (lambda: nn.BatchNorm1d(4, track_running_stats=False), "no constant"),
    "own forward pass": (lambda: Own(4, 4), "forward pass of its own"),
    "assigned forward pass": (lambda: assigned(nn.Linear(4, 4)), "forward pass of its own"),
    "own convolution": (lambda: OwnConv(4, 4, 1), "forward pass of its own"),
    "hooked weight norm": (lambda: old_weight_norm(nn.Linear(4, 4)), "neither a parameter"),
    "lazy": (lambda: nn.LazyLinear(4), "no weights yet"),
}


@pytest.mark.filterwarnings("ignore")  # weight_norm is deprecated, lazy modules are young
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_covered_is_never_taken_for_one(name):
    make, message = REFUSED[name]
    model = nn.Sequential(nn.Linear(4, 4), make())
    with pytest.raises(UsageError, match=message):
        Structure.of(model)
    assert [layer.name for layer in Structure.of(model, ["1*"]).layers] == ["0"]


def test_a_free_parameter_is_not_covered():
    model = nn.Sequential(nn.Linear(4, 4))
    model.scale = nn.Parameter(torch.ones(()))
    with pytest.raises(UsageError, match="the model"):
        Structure.of(model)


def test_misspelt_names_and_empty_models_are_refused():
    with pytest.raises(UsageError, match="head"):
        Structure.of(nn.Sequential(nn.Linear(2, 2)), ["head"])
    with pytest.raises(UsageError, match="no linear layers"):
        Structure.of(nn.ReLU())


def test_the_scale_of_a_batch_norm_is_its_norm():
    norm = norm_of(nn.Linear(2, 5).double(), (2,))
    truth = spectral_norm(linear_matrix(norm, (5,)))
    assert float(channel_scale(norm).abs().amax().detach()) == pytest.approx(truth, rel=1e-12)

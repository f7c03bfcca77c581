"""A batch norm counts with the layer before it only where nothing else takes what that layer returns."""

from __future__ import annotations

import pytest
import torch
from oracles import spectral_norm
from torch import nn
from torch.utils.checkpoint import checkpoint
from training_nets import filled, linear_matrix, norm_of

import lipaudit
from lipaudit.training.structure import Structure

SHAPE = (3, 5, 5)


class Net(nn.Module):
    """A convolution, a batch norm, and a pass that is given as a function of both."""

    def __init__(self, run):
        super().__init__()
        self.conv, _ = filled(lambda: (nn.Conv2d(3, 3, 3, padding=1), SHAPE))
        self.bn = norm_of(self.conv, SHAPE)
        self.run, self.kept = run, None

    def forward(self, x):
        return self.run(self, x)


def skip_from_between(net, x):
    y = net.conv(x)
    return y + net.bn(y)


def skip_read_first(net, x):
    y = net.conv(x)
    skip = y.mul(1)
    return net.bn(y) + skip


def skip_as_a_view(net, x):
    y = net.conv(x)
    skip = y[:, :1]
    return net.bn(y) + skip


def skip_in_a_list(net, x):
    y = net.conv(x)
    return torch.cat([net.bn(y), y], dim=1)


def skip_without_autograd(net, x):
    y = net.conv(x)
    return net.bn(y) + y.data


def changed_in_place(net, x):
    y = net.conv(x)
    y += x
    return net.bn(y)


def a_view_is_changed_in_place(net, x):
    y = net.conv(x)
    y[:, 1].mul_(3)
    return net.bn(y)


def returned(net, x):
    y = net.conv(x)
    return net.bn(y), {"features": [y]}


def returned_as_a_view(net, x):
    y = net.conv(x)
    return net.bn(y), y.flatten(1)


def kept_for_later(net, x):
    net.kept = net.conv(x)
    return net.bn(net.kept)


def normed_twice(net, x):
    y = net.conv(x)
    return net.bn(y) + net.bn(y)


def normed_once_of_two_calls(net, x):
    return net.bn(net.conv(x)) + net.conv(2 * x)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, x):
        return 2 * x

    @staticmethod
    def backward(_ctx, gradient):
        return 2 * gradient


def read_by_a_function_of_its_own(net, x):
    y = net.conv(x)
    return net.bn(y) + Doubled.apply(y)


def doubled(x):
    return 2 * x


def read_by_a_script(net, x):
    y = net.conv(x)
    return net.bn(y) + torch.jit.script(doubled)(y)


def named_on_the_way(net, x):
    y = net.conv(x)
    z = net.bn(y)
    return x + z.relu_()


def overwritten(net, x):
    x = net.conv(x)
    x = net.bn(x)
    return x.relu()


def only_its_shape_is_asked_for(net, x):
    y = net.conv(x)
    assert len(y) == x.shape[0] == y.size(0)
    assert y.dtype == x.dtype
    return net.bn(y)


def checkpointed(net, x):
    return checkpoint(lambda x: net.bn(net.conv(x)), x, use_reentrant=False)


def in_two_passes(net, x):
    return net.bn(net.conv(x)) + net.bn(net.conv(2 * x))


APART = [
    skip_from_between,
    skip_read_first,
    skip_as_a_view,
    skip_in_a_list,
    skip_without_autograd,
    changed_in_place,
    a_view_is_changed_in_place,
    returned,
    returned_as_a_view,
    kept_for_later,
    normed_twice,
    normed_once_of_two_calls,
    read_by_a_function_of_its_own,
    read_by_a_script,
]
TOGETHER = [named_on_the_way, overwritten, only_its_shape_is_asked_for, checkpointed, in_two_passes]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
@pytest.mark.parametrize("grown", [True, False])
@pytest.mark.parametrize("run", APART + TOGETHER)
def test_only_a_sole_reader_counts_with_its_layer(run, grown):
    net = Net(run)
    x = torch.ones(2, *SHAPE, dtype=torch.float64, requires_grad=grown)
    structure = Structure.seen(net, x)
    together = structure.layers[0].norm is net.bn
    assert together is (run in TOGETHER)
    assert bool(structure.lone_norms) is not together


def test_a_hook_is_a_reader():
    for register in (nn.Module.register_forward_hook, nn.Module.register_forward_pre_hook):
        net, means = Net(overwritten), []
        module = net.conv if register is nn.Module.register_forward_hook else net.bn
        register(module, lambda _module, *tensors, to=means: to.append(tensors[-1][0].mean()))
        structure = Structure.seen(net, torch.ones(2, *SHAPE, dtype=torch.float64))
        assert structure.layers[0].norm is None
        assert len(means) == 1


class PreActivation(nn.Module):
    """The usual block: its skip connection starts between the first layer and its batch norm."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        return x + self.conv(self.bn(x).relu())


@pytest.mark.parametrize("seen", [True, False])
def test_a_skip_connection_cannot_carry_more_than_the_limit(seen):
    torch.manual_seed(0)
    net = PreActivation().double()
    with torch.no_grad():
        net.stem.weight.mul_(20)
    x = torch.randn(16, *SHAPE, dtype=torch.float64)
    clip = lipaudit.SpectralClip(net, 1.0, every=1, example=x if seen else None)
    penalty = lipaudit.regularizer(net, x, bound="norm", form="sum")
    for _ in range(30):
        net(x)
    assert penalty.bounds()["stem"] > 10
    clip.step()
    assert spectral_norm(linear_matrix(net.stem, SHAPE)) <= 1.001
    assert {reading.layer for reading in clip.history} == {"stem", "bn", "conv"}


class Stages(nn.Module):
    """A sequence that is run as a whole, or piece by piece with what is in between."""

    def __init__(self, whole):
        super().__init__()
        self.pieces = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU())
        self.whole = whole

    def forward(self, x):
        if self.whole:
            return self.pieces(x)
        found = []
        for piece in self.pieces:
            x = piece(x)
            found.append(x)
        return sum(found)


@pytest.mark.parametrize("whole", [True, False])
def test_without_an_example_a_sequence_has_to_run_as_a_whole(whole):
    model = Stages(whole)
    clip = lipaudit.SpectralClip(model, 10.0)
    model(torch.randn(2, *SHAPE))
    clip.clip()
    assert ("pieces.1" in clip.spectra) is not whole
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_layer_that_stands_in_two_places_has_no_follower():
    conv = nn.Conv2d(3, 3, 1)
    model = nn.Sequential(conv, nn.BatchNorm2d(3), conv)
    for structure in (Structure.of(model), Structure.seen(model, torch.ones(2, *SHAPE))):
        assert structure.layers[0].norm is None

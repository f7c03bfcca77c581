"""What is kept between calls in evaluation is never stale, whatever way a weight took to change."""

import copy
import pickle

import pytest
import torch
from layer_families import CONVS, DENSE, shaken
from torch import nn
from torch.autograd import forward_ad

from lipaudit.errors import UsageError
from lipaudit.layers import AOLConv2d, AOLLinear, CayleyConv2d, CayleyLinear, LOTConv2d, SOCConv2d

FAMILIES = [(conv, (2, 2, 4, 4)) for conv in dict.fromkeys(CONVS.values())] + [
    (dense, (2, 4)) for dense in dict.fromkeys(DENSE.values())
]


def made(kind, shape):
    torch.manual_seed(0)
    sizes = (2, 3, 3) if len(shape) == 4 else (4, 3)
    layer = shaken(kind(*sizes), 0.2).eval()
    return layer, torch.randn(shape)


def fresh(layer, x):
    """What the layer computes with nothing kept."""
    with torch.no_grad():
        return copy.deepcopy(layer)(x)


def by_hand(layer, new):
    for name, value in new.items():
        layer.get_parameter(name).copy_(value)


def by_data(layer, new):
    for name, value in new.items():
        layer.get_parameter(name).data.copy_(value)


def by_data_itself(layer, new):
    for name, value in new.items():
        layer.get_parameter(name).data = value


def by_numpy(layer, new):
    for name, value in new.items():
        layer.get_parameter(name).detach().numpy()[...] = value.numpy()


def by_state_dict(layer, new):
    layer.load_state_dict(new)


def by_assignment(layer, new):
    layer.load_state_dict(new, assign=True)


def by_replacement(layer, new):
    for name, value in new.items():
        setattr(layer, name, nn.Parameter(value))


def by_optimizer(layer, new):
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    for name, value in layer.named_parameters():
        value.grad = value.detach() - new[name]
    optimizer.step()


def by_view(layer, new):
    for name, value in new.items():
        layer.get_parameter(name).detach().view(-1)[:] = value.reshape(-1)


EDITS = [
    by_hand,
    by_data,
    by_data_itself,
    by_numpy,
    by_state_dict,
    by_assignment,
    by_replacement,
    by_optimizer,
    by_view,
]


@pytest.mark.parametrize(("kind", "shape"), FAMILIES)
def test_no_edit_goes_unnoticed(kind, shape):
    for edit in EDITS:
        layer, x = made(kind, shape)
        new = {name: value + 0.5 * torch.randn_like(value) for name, value in layer.state_dict().items()}
        with torch.no_grad():
            before = layer(x)
            edit(layer, new)
            after = layer(x)
        assert not torch.allclose(before, after)
        torch.testing.assert_close(after, fresh(layer, x), rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "shape"), FAMILIES)
def test_earlier_weights_that_come_back_are_not_those_of_today(kind, shape):
    """What is kept of the first weights is a copy, which training does not write to."""
    for bring_back in (by_assignment, by_replacement, None):
        layer, x = made(kind, shape)
        first = {name: value.detach().clone() for name, value in layer.state_dict().items()}
        with torch.no_grad():
            before = layer(x)
            shaken(layer, 0.5)
            if bring_back is None:
                after = torch.func.functional_call(layer, first, (x,))
            else:
                bring_back(layer, first)
                after = layer(x)
        torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch's own
def test_tangents_are_not_lost():
    layer, x = made(CayleyLinear, (2, 4))
    layer.requires_grad_(requires_grad=False)
    weight, tangent = layer.weight.detach().clone(), torch.randn_like(layer.weight)
    layer(x)
    with forward_ad.dual_level():
        dual = {"weight": forward_ad.make_dual(weight, tangent)}
        found = forward_ad.unpack_dual(torch.func.functional_call(layer, dual, (x,))).tangent
    _, wanted = torch.func.jvp(
        lambda w: torch.func.functional_call(copy.deepcopy(layer), {"weight": w}, (x,)), (weight,), (tangent,)
    )
    torch.testing.assert_close(found, wanted)


def test_nothing_is_kept_under_hooks_for_all_modules():
    layer, x = made(AOLLinear, (2, 4))
    handle = nn.modules.module.register_module_forward_pre_hook(lambda *_: None)
    try:
        with torch.no_grad():
            layer(x)
        assert layer._kept is None
    finally:
        handle.remove()


def test_one_entry_is_enough():
    layer, x = made(AOLConv2d, (2, 2, 4, 4))
    with torch.no_grad():
        layer(x)
        layer.weight.data[0, 0, 0, 0] = torch.nextafter(layer.weight[0, 0, 0, 0], torch.tensor(9.0))
        kept = layer._kept
        layer(x)
    assert layer._kept is not kept


def test_nothing_is_derived_twice():
    layer, x = made(CayleyConv2d, (2, 2, 4, 4))
    with torch.no_grad():
        layer(x)
        kept = layer._kept
        layer(x + 1)
        assert layer._kept is kept
    layer.requires_grad_(requires_grad=False)
    y = layer(x.requires_grad_())
    y.sum().backward()
    assert layer._kept is kept
    assert x.grad is not None


@pytest.mark.parametrize("kind", [CayleyConv2d, LOTConv2d, CONVS["CPL"]])
def test_another_image_another_map(kind):
    layer, x = made(kind, (2, 2, 4, 4))
    wide = torch.randn(2, 2, 6, 4)
    with torch.no_grad():
        layer(x)
        torch.testing.assert_close(layer(wide), fresh(layer, wide), rtol=0, atol=0)
        torch.testing.assert_close(layer(x), fresh(layer, x), rtol=0, atol=0)


def test_another_type():
    layer, x = made(CayleyConv2d, (2, 2, 4, 4))
    with torch.no_grad():
        layer(x)
        assert layer.double()(x.double()).dtype == torch.float64
        assert layer.float()(x).dtype == torch.float32


def test_other_settings():
    layer, x = made(SOCConv2d, (2, 2, 4, 4))
    shaken(layer, 3.0)
    with torch.no_grad():
        layer(x)
        layer.terms = 3
        torch.testing.assert_close(layer(x), fresh(layer, x), rtol=0, atol=0)


def test_weights_get_gradients_in_evaluation():
    layer, x = made(CayleyLinear, (2, 4))
    with torch.no_grad():
        layer(x)
    layer(x).square().sum().backward()
    assert all(value.grad is not None for value in layer.parameters())


def test_what_inference_mode_keeps_serves_gradients():
    layer, x = made(CayleyConv2d, (2, 2, 4, 4))
    layer.requires_grad_(requires_grad=False)
    with torch.inference_mode():
        layer(x)
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None


def test_training_keeps_nothing():
    layer, x = made(CayleyLinear, (2, 4))
    with torch.no_grad():
        layer.train()(x)
    assert layer._kept is None


def test_copies_and_pickles_start_anew():
    layer, x = made(AOLConv2d, (2, 2, 4, 4))
    with torch.no_grad():
        layer(x)
    assert copy.deepcopy(layer)._kept is None
    assert pickle.loads(pickle.dumps(layer))._kept is None


def test_function_transforms_see_their_own_weights():
    layer, x = made(CayleyLinear, (2, 4))
    weights = {name: torch.stack([v, v + 0.1]) for name, v in layer.state_dict().items()}

    def call(state):
        return torch.func.functional_call(layer, state, (x,))

    with torch.no_grad():
        layer(x)
        both = torch.func.vmap(call)(weights)
        apart = torch.stack([call({n: v[i] for n, v in weights.items()}) for i in (0, 1)])
    torch.testing.assert_close(both, apart)
    torch.testing.assert_close(layer(x), fresh(layer, x))


def test_autocast_does_not_reach_the_derivation():
    layer, x = made(CayleyLinear, (2, 4))
    with torch.no_grad():
        exact = layer._current(())[0].clone()
        layer._kept = None
        with torch.autocast("cpu", torch.bfloat16):
            layer(x)
        torch.testing.assert_close(layer._current(())[0], exact, rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "shape"), FAMILIES)
def test_tracers_and_devices_without_numbers_get_their_own(kind, shape):
    layer, x = made(kind, shape)
    with torch.no_grad():
        wanted = layer(x)
        kept = layer._kept
        program = torch.export.export(layer, (x,))
        torch.testing.assert_close(program.module()(x), wanted)
        assert layer._kept is kept
        assert layer.to("meta")(x.to("meta")).shape == wanted.shape


def test_nothing_is_kept_that_depends_on_what_cannot_be_compared():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = torch.ones(3, 1)

        def forward(self, weight):
            return weight * self.factor

    layer, x = made(AOLLinear, (2, 4))
    hidden = Scaled()
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", hidden)
    with torch.no_grad():
        before = layer(x)
        hidden.factor[0] = -3.0
        assert not torch.allclose(layer(x), before)


def test_nothing_is_kept_of_weights_that_a_hook_sets():
    layer, x = made(AOLLinear, (2, 4))
    factors = [1.0]
    layer.free = layer.weight
    del layer.weight

    def hook(module, _inputs):
        module.weight = module.free * torch.tensor([[1.0], [1.0], factors])

    layer.register_forward_pre_hook(hook)
    with torch.no_grad():
        before = layer(x)
        factors[0] = -1.0
        assert not torch.allclose(layer(x), before)


def test_half_precision_is_refused():
    layer, x = made(AOLConv2d, (2, 2, 4, 4))
    with pytest.raises(UsageError, match="bfloat16"):
        layer.bfloat16()(x.bfloat16())

"""Frozen networks store plain weights, compute the same, and are proved to have constant 1."""

import warnings

import numpy as np
import pytest
import torch
from layer_families import CONVS, DENSE, ISOMETRIC, network, shaken
from safetensors.torch import save_file
from small_graph import bound_of, exported_graph, simplified
from torch import nn
from torch.nn.utils import prune

from lipaudit import audit
from lipaudit.errors import Incomplete, InputRefused, UsageError
from lipaudit.layers import (
    AOLConv2d,
    AOLLinear,
    BCOPConv2d,
    CayleyConv2d,
    CayleyLinear,
    CPLConv2d,
    CPLLinear,
    GroupSort,
    Householder,
    LOTConv2d,
    MaxMin,
    NormalizedLinear,
    SandwichConv2d,
    ScaledAvgPool2d,
    SLLConv2d,
    SOCLinear,
    freeze,
    structure,
)
from lipaudit.layers.derived import Derived

MOST = 1 + 1e-6


def trained(family, by=0.2):
    torch.manual_seed(0)
    return shaken(network(family), by).eval(), torch.randn(3, 2, 6, 6)


@pytest.mark.parametrize("family", CONVS)
def test_frozen_networks_are_proved_and_compute_the_same(family):
    net, x = trained(family)
    frozen = freeze(net, x)
    assert not any(isinstance(module, Derived) for module in frozen.modules())
    assert not any(value.requires_grad for value in frozen.parameters())
    with torch.no_grad():
        torch.testing.assert_close(frozen(x), net(x), rtol=0, atol=1e-5)
        torch.testing.assert_close(frozen(x), net.train()(x), rtol=0, atol=1e-5)
    bound = bound_of(simplified(frozen, 1, 2, 6, 6)).value
    assert bound <= MOST
    assert family not in ISOMETRIC or bound >= 1 - 1e-5


@pytest.mark.parametrize("family", CONVS)
def test_their_structure_is_filled_from_a_state_dict(family):
    net, x = trained(family)
    frozen = freeze(net, x)
    empty = structure(network(family), x)
    empty.load_state_dict(frozen.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(empty(x), frozen(x), rtol=0, atol=0)


@pytest.mark.parametrize("family", CONVS)
def test_state_dicts_of_the_layers_round_trip(family):
    net, x = trained(family)
    other = network(family).eval()
    other.load_state_dict(net.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(other(x), net(x), rtol=0, atol=0)


def judged(frozen, shape, folder, arch):
    """The global bounds that the audit proves from ONNX, and from safetensors with the architecture."""
    warnings.simplefilter("ignore")
    torch.onnx.export(frozen, (torch.zeros(shape),), folder / "model.onnx", dynamo=True, verbose=False)
    state = {name: value.contiguous() for name, value in frozen.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    (folder / "arch.py").write_text(arch)
    options = {"arch": f"{folder / 'arch.py'}:build", "input_shape": shape[1:]}
    reports = [
        audit(folder / "model.onnx", dataset="none"),
        audit(folder / "model.safetensors", dataset="none", **options),
    ]
    return [report.evidence.global_.upper.value for report in reports]


@pytest.mark.slow
@pytest.mark.parametrize("family", CONVS)
def test_their_files_are_proved(family, tmp_path):
    net, x = trained(family)
    arch = (
        "import torch\nfrom layer_families import network\nfrom lipaudit.layers import structure\n"
        f"def build():\n    return structure(network({family!r}), torch.zeros(1, 2, 6, 6))\n"
    )
    onnx, safetensors = judged(freeze(net, x), (1, 2, 6, 6), tmp_path, arch)
    assert onnx <= MOST
    assert safetensors <= MOST


def test_other_modules_are_proved_with_them():
    torch.manual_seed(0)
    net = nn.Sequential(
        AOLConv2d(1, 4, 3, 1, 1),
        GroupSort(),
        CayleyConv2d(4, 4, 3),
        Householder(4),
        ScaledAvgPool2d(2),
        nn.Flatten(),
        CayleyLinear(36, 6),
        MaxMin(),
        CayleyLinear(6, 3),
    )
    frozen = freeze(shaken(net, 0.1), torch.zeros(1, 1, 6, 6))
    assert bound_of(simplified(frozen, 1, 1, 6, 6)).value <= MOST


def test_a_sandwich_convolution_is_proved_at_its_own_scaling():
    torch.manual_seed(1)
    layer = shaken(SandwichConv2d(3, 4, 3), 0.3)
    frozen = freeze(layer, torch.zeros(1, 3, 5, 5))
    assert bound_of(exported_graph(frozen, 1, 3, 5, 5)).value <= MOST


def test_rows_of_the_last_layer_stay_at_most_1():
    torch.manual_seed(2)
    frozen = freeze(shaken(NormalizedLinear(9, 5), 1.0))
    lengths = frozen.weight.double().norm(dim=1)
    assert float(lengths.max()) <= 1
    assert float(lengths.min()) >= 1 - 1e-5


def test_the_model_stays_as_it_is():
    net, x = trained("Cayley")
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    freeze(net, x)
    assert net.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_nested_and_shared_layers_keep_their_names():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = CayleyLinear(4, 4)
            self.blocks = nn.ModuleDict({"a": nn.Sequential(self.first, MaxMin())})

        def forward(self, x):
            return self.blocks["a"](self.first(x))

    frozen = freeze(Net())
    assert isinstance(frozen.first, nn.Linear)
    assert frozen.blocks["a"][0] is frozen.first


def test_the_last_image_counts_without_an_example():
    layer = CayleyConv2d(2, 2, 3)
    with pytest.raises(UsageError, match="met no image"):
        freeze(layer)
    x = torch.randn(1, 2, 5, 4)
    with torch.no_grad():
        torch.testing.assert_close(freeze(layer, x)(x), layer(x), rtol=0, atol=1e-5)
        torch.testing.assert_close(freeze(layer)(x), layer(x), rtol=0, atol=1e-5)
        with pytest.raises(UsageError, match="freeze the model again"):
            freeze(layer)(torch.zeros(1, 2, 6, 6))


def test_one_layer_at_two_sizes_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = CayleyConv2d(1, 1, 3)

        def forward(self, x):
            return self.conv(self.conv(x)[..., :3])

    with pytest.raises(UsageError, match="'conv' meets images"):
        freeze(Twice(), torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("family", DENSE)
def test_nan_is_refused(family):
    names = [name for name, _ in DENSE[family](3, 3).named_parameters()]
    for name in names:
        layer = nn.Sequential(DENSE[family](3, 3))
        with torch.no_grad():
            layer[0].get_parameter(name).view(-1)[0] = torch.nan
        with pytest.raises(InputRefused, match=f"'0': parameter '{name}'"):
            freeze(layer)


def test_a_cpl_block_is_for_one_size_of_image(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(2, 2, 7, 7)
    frozen = freeze(shaken(CPLConv2d(2, 2, 3)), x)
    with pytest.raises(UsageError, match=r"frozen for images that are \(7, 7\), not \(56, 56\)"):
        frozen(torch.zeros(1, 2, 56, 56))
    program = torch.export.export(frozen, (x,))
    torch.testing.assert_close(program.module()(x), frozen(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(frozen, (x,), tmp_path / "block.onnx", dynamo=True, verbose=False)
    assert (tmp_path / "block.onnx").stat().st_size > 0


def test_scales_that_hold_everywhere_serve_every_image():
    frozen = freeze(SLLConv2d(2, 2, 3), torch.zeros(1, 2, 7, 7))
    assert frozen(torch.zeros(1, 2, 9, 5)).shape == (1, 2, 9, 5)


@pytest.mark.parametrize("distance", [0.0, 1e-8, 1e-6, 1e-3])
@pytest.mark.parametrize("kind", [BCOPConv2d, SandwichConv2d])
def test_nearly_dependent_columns_freeze_to_the_same_function(kind, distance):
    torch.manual_seed(0)
    x = torch.randn(1, 4, 6, 6)
    for name in ("start", "bases"):
        layer = kind(4, 4, 3)
        with torch.no_grad():
            columns = getattr(layer, name).view(-1, *getattr(layer, name).shape[-2:])[0]
            columns[:, 1] = columns[:, 0] * (1 + distance * torch.randn(len(columns)))
            torch.testing.assert_close(freeze(layer, x)(x), layer(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1e18, 1e19, 1e20])
def test_a_cpl_block_of_huge_weights_freezes_to_the_same_function(size):
    torch.manual_seed(0)
    layer, x = CPLLinear(3, 3, bias=False), torch.randn(2, 3)
    with torch.no_grad():
        layer.weight.mul_(size / torch.linalg.matrix_norm(layer.weight, ord=2))
        torch.testing.assert_close(freeze(layer)(x), layer(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_several_sizes_since_the_last_step_are_refused(training):
    layer = CayleyConv2d(1, 1, 3).train(training)
    small, large = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 6, 5)
    layer(large)
    layer(small)
    with pytest.raises(UsageError, match=r"'' has met images of \(6, 5\) and of \(4, 4\)") as caught:
        freeze(layer)
    assert "freeze(model, example)" in caught.value.hint
    assert freeze(layer, large).image == (6, 5)
    with torch.no_grad():
        for value in layer.parameters():
            value.add_(0.1)
    layer(small)
    layer(small)
    assert freeze(layer).image == (4, 4)


def test_a_layer_that_stands_at_two_places_is_frozen_at_both():
    torch.manual_seed(0)
    layer = AOLLinear(4, 4)
    net, x = nn.Sequential(layer, MaxMin(), layer), torch.randn(2, 4)
    frozen = freeze(net)
    assert frozen[0] is frozen[2]
    assert isinstance(frozen[2], nn.Linear)
    with torch.no_grad():
        torch.testing.assert_close(frozen(x), net(x), rtol=0, atol=1e-5)


class Twice(AOLLinear):
    def forward(self, x):
        return 2 * super().forward(x)


class Moved(AOLLinear):
    def run(self, x, *values):
        return super().run(x, *values) + 1


class Halved(AOLLinear):
    def derive(self, image):
        return tuple(value / 2 for value in super().derive(image))


class Doubled(CayleyLinear):
    def frozen(self, image, fit, *values):
        return nn.Sequential(super().frozen(image, fit, *values), nn.Flatten(0))

    def run(self, x, *values):
        return super().run(x, *values).flatten()


def patched(layer):
    forward = layer.forward
    layer.forward = lambda x: 2 * forward(x)
    return layer


def hooked(layer):
    layer.register_forward_hook(lambda _module, _inputs, y: 3 * y)
    return layer


def before(layer):
    layer.register_forward_pre_hook(lambda _module, inputs: (2 * inputs[0],))
    return layer


def old(normalise):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return normalise(AOLLinear(3, 3))


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (Twice(3, 3), r"'0' \(Twice\) has its own forward\(\)"),
        (Moved(3, 3), r"has its own run\(\)"),
        (patched(AOLLinear(3, 3)), r"has its own forward\(\)"),
        (hooked(AOLLinear(3, 3)), "'0' has forward hooks"),
        (before(AOLLinear(3, 3)), "'0' has forward hooks"),
        (old(nn.utils.spectral_norm), "remove_spectral_norm"),
        (old(nn.utils.weight_norm), "remove_weight_norm"),
        (prune.l1_unstructured(AOLLinear(3, 3), "weight", 2), r"prune\.remove"),
    ],
)
def test_what_would_freeze_to_another_function_is_refused(layer, why):
    for make in (freeze, structure):
        with pytest.raises(UsageError, match=why) as caught:
            make(nn.Sequential(layer))
        assert caught.value.hint


@pytest.mark.parametrize("kind", [Halved, Doubled])
def test_subclasses_that_say_what_they_freeze_to(kind):
    torch.manual_seed(0)
    layer, x = kind(3, 3), torch.randn(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(freeze(layer)(x), layer(x), rtol=0, atol=1e-5)


def test_parametrizations_are_frozen():
    layer = nn.utils.parametrizations.weight_norm(AOLLinear(3, 3))
    x = torch.randn(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(freeze(layer)(x), layer(x), rtol=0, atol=1e-5)


def test_weights_that_cannot_be_derived():
    class Unbounded(nn.Module):
        def forward(self, weight):
            return weight * torch.inf

    layer = nn.Sequential(SOCLinear(4, 4))
    nn.utils.parametrize.register_parametrization(layer[0], "weight", Unbounded())
    with pytest.raises(Incomplete, match="not finite"):
        freeze(layer)


class Decoder(nn.Module):
    """It takes the free weight of its encoder, which a frozen one does not have."""

    def __init__(self):
        super().__init__()
        self.encoder = CayleyLinear(6, 6)

    def forward(self, x):
        return {"y": (nn.functional.linear(self.encoder(x).relu(), self.encoder.weight.T), None)}


def test_a_network_that_would_compute_something_else_is_refused():
    torch.manual_seed(0)
    with pytest.raises(UsageError, match="answers the example with another output") as caught:
        freeze(Decoder(), torch.randn(2, 6))
    assert caught.value.hint


def test_an_example_that_is_not_finite_is_refused():
    with pytest.raises(UsageError, match="another output: nan"):
        freeze(AOLLinear(2, 2), torch.tensor([1.0, torch.nan]))


@pytest.mark.parametrize(
    "register",
    [
        nn.modules.module.register_module_forward_hook,
        nn.modules.module.register_module_forward_pre_hook,
    ],
)
def test_hooks_for_all_modules_are_refused(register):
    handle = register(lambda *_: None)
    try:
        with pytest.raises(UsageError, match="for all modules"):
            freeze(AOLLinear(2, 2))
    finally:
        handle.remove()


def test_shared_parameters_keep_their_type():
    torch.manual_seed(0)
    net = nn.Sequential(CayleyLinear(4, 4), nn.Linear(4, 4), CayleyLinear(4, 4)).eval()
    net[1].weight = net[2].weight = net[0].weight
    x = torch.randn(2, 4)
    frozen = freeze(net, x)
    assert {value.dtype for value in frozen.parameters()} == {torch.float32}
    with torch.no_grad():
        torch.testing.assert_close(frozen(x), net(x), rtol=0, atol=1e-5)


def test_nan_of_other_modules_is_refused():
    net = nn.Sequential(CayleyLinear(4, 4), Householder(4))
    with torch.no_grad():
        net[1].theta[0] = torch.nan
    with pytest.raises(InputRefused, match="'1': parameter 'theta'"):
        freeze(net)


def test_soc_that_is_not_a_number_is_refused_with_an_example():
    layer = SOCLinear(3, 3)
    with torch.no_grad():
        layer.weight[0, 0] = torch.nan
    with pytest.raises(InputRefused, match="parameter 'weight'"):
        freeze(layer, torch.ones(1, 3))


@pytest.mark.parametrize("kind", [CayleyConv2d, LOTConv2d])
def test_one_image_without_a_batch(kind):
    torch.manual_seed(0)
    layer, x = kind(2, 3, 3), torch.randn(2, 5, 4)
    with torch.no_grad():
        torch.testing.assert_close(freeze(layer, x)(x), layer(x), rtol=0, atol=1e-5)


def test_an_activation_with_a_forward_pass_of_its_own_is_refused():
    layer = CPLLinear(2, 2)
    layer.activation.forward = torch.neg
    for make in (lambda: freeze(layer), lambda: CPLLinear(2, 2, activation=layer.activation)):
        with pytest.raises(UsageError, match="forward pass of its own"):
            make()


def test_an_activation_that_changed_is_judged_again():
    layer = SLLConv2d(2, 2, 3, activation=nn.Softplus())
    layer.activation.threshold = 0
    with pytest.raises(UsageError, match="jumps"):
        freeze(layer, torch.zeros(1, 2, 4, 4))


def test_pruned_weights_are_frozen_once_they_are_removed():
    torch.manual_seed(0)
    layer, x = prune.l1_unstructured(AOLLinear(3, 3), "weight", 2), torch.randn(2, 3)
    prune.remove(layer, "weight")
    with torch.no_grad():
        torch.testing.assert_close(freeze(layer, x)(x), layer(x), rtol=0, atol=1e-5)


class WithSpare(nn.Module):
    """A network with a layer that its forward pass in evaluation does not call."""

    def __init__(self):
        super().__init__()
        self.conv, self.spare = CayleyConv2d(1, 1, 3), CayleyConv2d(1, 1, 3)

    def forward(self, x):
        return self.conv(x)


@pytest.mark.parametrize("sizes", [(), (4, 6)])
def test_a_layer_that_the_example_does_not_reach_is_named_as_such(sizes):
    net, x = WithSpare(), torch.zeros(1, 1, 4, 4)
    for size in sizes:
        net.spare(torch.zeros(1, 1, size, size))
    for make in (freeze, structure):
        with pytest.raises(UsageError, match="the example does not reach layer 'spare'") as caught:
            make(net, x)
        assert "take the layer out" in caught.value.hint
    once = WithSpare()
    once.spare(x)
    assert freeze(once, x).spare.image == (4, 4)


@pytest.mark.parametrize(
    ("model", "example", "why"),
    [
        (3, None, "the model is of type int"),
        (AOLLinear(2, 2).state_dict(), None, "the model is of type OrderedDict"),
        (AOLLinear(2, 2), (torch.ones(1, 2),), "the example is of type tuple"),
        (AOLLinear(2, 2), np.ones((1, 2)), "the example is of type ndarray"),
    ],
)
def test_arguments_of_other_kinds(model, example, why):
    for make in (freeze, structure):
        with pytest.raises(UsageError, match=why) as caught:
            make(model, example)
        assert caught.value.hint


@pytest.mark.parametrize(
    "hidden",
    [
        [AOLLinear(2, 2)],
        {"a": (MaxMin(), AOLLinear(2, 2))},
        [nn.Sequential(nn.Sequential(AOLLinear(2, 2)), MaxMin())],
    ],
)
def test_layers_where_torch_does_not_see_them_are_refused(hidden):
    net = nn.Sequential(nn.Sequential(AOLLinear(2, 2)))
    net[0].rest = hidden
    for make in (freeze, structure):
        with pytest.raises(UsageError, match=r"module '0' keeps layers in 'rest' \((list|dict)\)") as caught:
            make(net, torch.ones(1, 2))
        assert "ModuleList" in caught.value.hint


def test_plain_lists_of_other_modules_and_of_known_layers_are_none_of_our_business():
    net = nn.Sequential(AOLLinear(2, 2), nn.Linear(2, 2))
    net.order = [net[1], net[0]]
    net.teacher = [nn.Linear(2, 2)]
    assert isinstance(freeze(net, torch.ones(1, 2))[0], nn.Linear)


def test_what_a_layer_cannot_freeze_is_said_with_its_name():
    class Endless(AOLLinear):
        def derive(self, image):
            return tuple(value / 0 for value in super().derive(image))

    with pytest.raises(Incomplete, match=r"freeze: layer '1\.0': a weight is not finite") as caught:
        freeze(nn.Sequential(MaxMin(), nn.Sequential(Endless(2, 2))))
    assert "NaN" in caught.value.hint


@pytest.mark.parametrize("size", [100.0, -100.0])
def test_a_sandwich_of_extreme_scaling_is_frozen(size):
    torch.manual_seed(0)
    layer, x = SandwichConv2d(2, 2, 3, bias=False), torch.randn(1, 2, 4, 4)
    with torch.no_grad():
        layer.log_psi.fill_(size)
        torch.testing.assert_close(freeze(layer, x)(x), layer(x), rtol=0, atol=1e-5)


def test_a_frozen_filter_is_exported_for_batches_of_any_size():
    torch.manual_seed(0)
    x = torch.randn(3, 1, 4, 4)
    frozen = freeze(CayleyConv2d(1, 2, 3), x)
    program = torch.export.export(frozen, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for count in (2, 5):
        images = torch.randn(count, 1, 4, 4)
        torch.testing.assert_close(program.module()(images), frozen(images))

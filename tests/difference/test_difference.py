"""Two files of one model are the same; two of different models are told apart, where and by how much."""

import io
import json
import textwrap
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import lipaudit.difference.text as shown
from lipaudit.cli import main
from lipaudit.data import load_dataset
from lipaudit.difference import Side, compare_models
from lipaudit.errors import InputRefused, UsageError
from lipaudit.load import METADATA_KEY

ARCH = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, divisor=None, last=None):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.bn = nn.BatchNorm2d(3)
        self.pool = nn.AvgPool2d(2, divisor_override=divisor)
        self.fc = nn.Linear(27, 4)
        self.last = last or nn.Identity()

    def forward(self, x):
        return self.last(self.fc(torch.flatten(self.pool(torch.relu(self.bn(self.conv(x)))), 1)))


class Gate(nn.Module):
    def __init__(self, kind=nn.ReLU):
        super().__init__()
        self.kind = kind()
        self.first = nn.Linear(6, 5)
        self.hidden = nn.Linear(5, 4)
        self.open = nn.Linear(5, 4)

    def forward(self, x):
        h = self.first(x)
        return self.open(torch.relu(h)) + self.kind(self.hidden(torch.relu(h - 1e9)))


def net():
    return Net()


def summing():
    return Net(divisor=1)


def gate():
    return Gate()
"""
SCOPE = {}
exec(ARCH, SCOPE)  # noqa: S102 - the architectures above
Net, Gate = SCOPE["Net"], SCOPE["Gate"]


def seeded(make, *arguments, **options):
    torch.manual_seed(0)
    network = make(*arguments, **options)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_var.uniform_(0.5, 2)
            part.running_mean.uniform_(-0.2, 0.2)
    return network.eval()


def as_onnx(network, path, shape=(1, 8, 8)):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.zeros(1, *shape),), path, dynamo=False)
    return path


def as_program(network, path, shape=(1, 8, 8), **options):
    torch.export.save(torch.export.export(network, (torch.zeros(1, *shape),)), path, **options)
    return path


@pytest.fixture
def arch(tmp_path):
    (tmp_path / "net.py").write_text(textwrap.dedent(ARCH))
    return f"{tmp_path}/net.py"


def test_one_model_in_three_files(tmp_path, arch):
    network = seeded(Net)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    onnx, program = as_onnx(network, tmp_path / "m.onnx"), as_program(network, tmp_path / "m.pt2")
    for a, b in ((tmp_path / "w.safetensors", onnx), (onnx, program), (program, tmp_path / "w.safetensors")):
        found = compare_models(a, b, arch=None if a == onnx else f"{arch}:net")
        assert found.same, found
        assert found.unmatched == (0, 0)
        assert not found.layers
        assert max(gap.relative for gap in found.outputs) < 1e-5
    assert not found.tensors
    assert found.sides[0].weights_sha256 == found.sides[1].weights_sha256


def test_an_exporter_that_drops_a_divisor_is_caught(tmp_path, arch):
    network = seeded(Net, divisor=1)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    found = compare_models(tmp_path / "w.pth", as_onnx(network, tmp_path / "m.onnx"), arch=f"{arch}:summing")
    assert not found.same
    (layer,) = found.layers
    assert layer.op == "avg_pool2d"
    assert "divisor_override is 1 in the first and not set in the second" in layer.what
    assert "the first gives 4 times what the second gives" in layer.what
    assert any(gap.differs for gap in found.outputs)


def test_one_weight_is_found(tmp_path):
    network = seeded(Net)
    one = as_program(network, tmp_path / "a.pt2")
    network.fc.weight.data[2, 5] += 1e-3
    found = compare_models(one, as_program(network, tmp_path / "b.pt2"))
    assert not found.same
    (tensor,) = found.tensors
    assert (tensor.a, tensor.b, tensor.entries) == ("fc.weight", "fc.weight", 1)
    assert tensor.largest == pytest.approx(1e-3, rel=1e-3)
    (layer,) = found.layers
    assert layer.a == "fc"
    assert "1 of 108 entries differ" in layer.what


@pytest.mark.parametrize("part", ["hidden.weight", "hidden.bias"])
def test_what_sleeps_behind_a_gate_is_found(part, tmp_path, arch):
    network = seeded(Gate)
    nn.init.constant_(network.hidden.bias, -1.0)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    network.get_parameter(part).data += 0.5 if part.endswith("weight") else -0.5
    found = compare_models(
        tmp_path / "w.safetensors",
        as_onnx(network, tmp_path / "m.onnx", (6,)),
        arch=f"{arch}:gate",
        input_shape=(6,),
    )
    assert not any(gap.differs for gap in found.outputs)
    assert not found.same
    assert [layer.a for layer in found.layers] == ["hidden"]
    assert "though no output that was tried shows it" in found.reasons[0]


def test_another_activation_behind_a_gate_is_found(tmp_path):
    def made(kind):
        network = seeded(Gate, kind)
        nn.init.constant_(network.hidden.bias, 0.0)  # both kinds are 0 there
        return network

    found = compare_models(
        as_program(made(nn.ReLU), tmp_path / "a.pt2", (6,)),
        as_program(made(nn.GELU), tmp_path / "b.pt2", (6,)),
    )
    assert not any(gap.differs for gap in found.outputs)
    assert [layer.a for layer in found.layers] == ["kind"]
    assert "relu in the first, gelu in the second" in found.reasons[0]


class Squeeze(nn.Module):
    """Hardsigmoid, whole or spelled out with its factor in the layer before it."""

    def __init__(self, spelled, shift=0.5):
        super().__init__()
        self.fc, self.last, self.spelled, self.shift = nn.Linear(6, 5), nn.Linear(5, 3), spelled, shift

    def forward(self, x):
        y = self.fc(x)
        y = (y / 6 + self.shift).clamp(0, 1) if self.spelled else nn.functional.hardsigmoid(y)
        return self.last(y)


def test_a_factor_may_stand_in_the_layer_before(tmp_path):
    whole = as_program(seeded(Squeeze, False), tmp_path / "a.pt2", (6,))
    assert compare_models(whole, as_program(seeded(Squeeze, True), tmp_path / "b.pt2", (6,))).same
    found = compare_models(whole, as_program(seeded(Squeeze, True, 0.4), tmp_path / "c.pt2", (6,)))
    assert not found.same
    assert found.layers[0].a == "fc"


class Last(nn.Module):
    """The same network for images with channels last."""

    def __init__(self, network, order):
        super().__init__()
        self.conv, self.fc = network[0], nn.Linear(network[3].in_features, 4)
        with torch.no_grad():
            self.fc.weight.copy_(network[3].weight[:, order])
            self.fc.bias.copy_(network[3].bias)

    def forward(self, x):
        y = torch.relu(self.conv(x.permute(0, 3, 1, 2)))
        return self.fc(y.permute(0, 2, 3, 1).reshape(len(y), -1))


def test_a_permuted_layout_is_the_same(tmp_path):
    first = seeded(lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)))
    order = torch.arange(48).reshape(3, 4, 4).permute(1, 2, 0).flatten()
    a = as_onnx(first, tmp_path / "a.onnx", (2, 6, 6))
    b = as_program(Last(first, order).eval(), tmp_path / "b.pt2", (6, 6, 2))
    found = compare_models(a, b)
    assert found.same, found
    assert any("channels last" in note for note in found.notes)
    order[[0, 1]] = order[[1, 0]]
    wrong = compare_models(a, as_program(Last(first, order).eval(), tmp_path / "c.pt2", (6, 6, 2)))
    assert not wrong.same


def test_a_softmax_on_one_only(tmp_path):
    found = compare_models(
        as_program(seeded(Net, last=nn.Softmax(1)), tmp_path / "a.pt2"),
        as_program(seeded(Net), tmp_path / "b.pt2"),
    )
    assert not found.same
    (layer,) = found.layers
    assert layer.what == "the first model ends in softmax, the second in nothing"
    assert not found.tensors


def test_another_activation_is_named(tmp_path):
    def made(activation):
        return seeded(lambda: nn.Sequential(nn.Linear(6, 5), activation, nn.Linear(5, 3)))

    found = compare_models(
        as_program(made(nn.ReLU()), tmp_path / "a.pt2", (6,)),
        as_program(made(nn.GELU()), tmp_path / "b.pt2", (6,)),
    )
    assert [(gap.a, gap.b) for gap in found.layers] == [("1", "1")]
    assert "relu in the first, gelu in the second" in found.layers[0].what


def test_another_slope_is_named(tmp_path):
    def made(slope):
        return seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(slope), nn.Linear(5, 3)))

    found = compare_models(
        as_program(made(0.1), tmp_path / "a.pt2", (6,)), as_program(made(0.2), tmp_path / "b.pt2", (6,))
    )
    assert [gap.a for gap in found.layers] == ["1"]


class Wired(nn.Module):
    def __init__(self, crossed):
        super().__init__()
        self.one, self.two, self.crossed = nn.Linear(6, 6), nn.Linear(6, 6), crossed

    def forward(self, x):
        y = torch.relu(self.one(x))
        z = torch.relu(self.two(x if self.crossed else y))
        return torch.cat([y, z], 1)


def test_another_wiring_is_named(tmp_path):
    a, b = (
        as_program(seeded(Wired, crossed), tmp_path / f"{i}.pt2", (6,))
        for i, crossed in enumerate((False, True))
    )
    found = compare_models(a, b)
    assert [gap.a for gap in found.layers] == ["two"]
    assert "the second reads input" in found.layers[0].what


def test_without_a_rule_outputs_still_tell(tmp_path):
    def made(scale):
        return seeded(
            lambda: nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6, eps=scale), nn.RReLU(), nn.Linear(6, 3))
        )

    a, b, c = (as_program(made(s), tmp_path / f"{i}.pt2", (6,)) for i, s in enumerate((1.0, 1.0, 2.0)))
    assert compare_models(a, b).same
    assert not compare_models(a, c).same


def test_layers_without_counterpart_are_noted(tmp_path):
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            return self.fc(torch.maximum(x, torch.zeros(())))

    class Relu(Root):
        def forward(self, x):
            return self.fc(torch.relu(x) + torch.relu(x) * 0.5 - torch.relu(x) * 0.5)

    found = compare_models(
        as_program(seeded(Root), tmp_path / "a.pt2", (6,)), as_program(seeded(Relu), tmp_path / "b.pt2", (6,))
    )
    assert found.same
    assert any(found.unmatched)
    assert any("judged by outputs alone" in note for note in found.notes)


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ((6, 3), (5, 3), r"inputs of shape \[1, 6\], the other \[1, 5\]"),
        ((6, 3), (6, 4), "returns 3 numbers, the other 4"),
    ],
)
def test_what_cannot_be_compared(one, other, says, tmp_path):
    paths = [
        as_program(nn.Linear(*sizes), tmp_path / f"{i}.pt2", sizes[:1])
        for i, sizes in enumerate((one, other))
    ]
    with pytest.raises(InputRefused, match=says):
        compare_models(*paths)


def test_wrong_options(tmp_path):
    path = as_program(nn.Linear(6, 3), tmp_path / "a.pt2", (6,))
    for options in ({"arch": "net.py:make"}, {"arch_b": "net.py:make"}, {"tolerance": 0.0}):
        with pytest.raises(UsageError):
            compare_models(path, path, **options)


def samples(tmp_path, count=7):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.zeros(count, dtype=np.int64))
    return f"npz:{tmp_path}/d.npz"


def test_samples_and_preprocessing(tmp_path):
    network = seeded(Net)
    stated = {METADATA_KEY: '{"version": 1, "mean": [0.5], "std": [0.25]}'}
    a = as_program(network, tmp_path / "a.pt2", extra_files=stated)
    b = as_program(network, tmp_path / "b.pt2")
    data = load_dataset(samples(tmp_path))
    found = compare_models(a, b, data=data)
    assert found.same
    assert found.outputs[-1].count == 7
    assert any("used for both" in note for note in found.notes)
    with torch.no_grad():
        network.fc.bias[0] += 1e3
    other = {METADATA_KEY: '{"version": 1, "mean": [0.4], "std": [0.25]}'}
    worse = compare_models(a, as_program(network, tmp_path / "c.pt2", extra_files=other), data=data)
    assert worse.outputs[-1].other_class > 0
    assert "the models state different preprocessing" in worse.reasons


def test_the_text_names_layer_and_verdict(tmp_path):
    found = compare_models(
        as_program(seeded(Net, divisor=1), tmp_path / "a.pt2"), as_program(seeded(Net), tmp_path / "b.pt2")
    )
    text = shown.to_text(found)
    assert "layers that differ:\n  pool (avg_pool2d): divisor_override is 1" in text
    assert text.splitlines()[-1].startswith("DIFFERENT (exit 1): the outputs differ")
    assert "also: layer pool" in text


def test_exit_codes_and_json(tmp_path, capsys):
    network = seeded(Net)
    a, b = as_program(network, tmp_path / "a.pt2"), as_onnx(network, tmp_path / "b.onnx")
    c = as_program(seeded(Net, divisor=1), tmp_path / "c.pt2")
    narrow = as_program(nn.Linear(6, 3), tmp_path / "d.pt2", (6,))
    assert main(["diff-model", str(a), str(b)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("SAME (exit 0): ")
    assert main(["diff-model", str(a), str(c), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["same"], found["layers"][0]["op"]) == (False, "avg_pool2d")
    assert main(["diff-model", str(a), str(narrow)]) == 4
    assert main(["diff-model", str(a), str(tmp_path / "none.pt2")]) == 5
    assert main(["diff-model", str(a)]) == 2
    assert main(["diff-model", str(a), str(b), "--tolerance", "2"]) == 2
    assert main(["diff-model", str(a), str(b), "-d", samples(tmp_path), "--limit", "3"]) == 0
    assert "d.npz" in capsys.readouterr().out


def test_json_has_no_infinities():
    stream = io.StringIO(shown.to_json(compare_infinite()))
    assert json.load(stream)["outputs"][0]["relative"] is None


def compare_infinite():
    gap = shown.OutputGap("uniform", "as given", 1, float("inf"), 1e-4)
    side = side_record()
    return shown.Difference(
        same=False,
        reasons=("x",),
        sides=(side, side),
        outputs=(gap,),
        layers=(),
        unmatched=(0, 0),
        tensors=(),
        notes=(),
    )


def side_record():
    return Side("a", "onnx", (1, 2), "0" * 64, 3)

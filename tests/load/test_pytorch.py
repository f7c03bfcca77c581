"""Weights and an architecture file make a program, strictly."""

import textwrap
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations

from lipaudit.errors import InputRefused, InputUnavailable, UsageError
from lipaudit.load import METADATA_KEY, load_model

SHARED = Path(__file__).parents[2].parent / "shared" / "models" / "torch"

ARCH = """
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
import warnings

def plain():
    print("hello from the factory")
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))

def parametrised():
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 3)), nn.ReLU(),
                         parametrizations.weight_norm(nn.Linear(3, 2)))

def hooked():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(spectral_norm(nn.Linear(4, 3)), nn.ReLU(), weight_norm(nn.Linear(3, 2)))

def normed():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))

def fails():
    raise RuntimeError("no GPU here")

def leaves():
    raise SystemExit(3)

def number():
    return 3

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 2)
    def forward(self, x):
        return self.l(x), x

class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 2)
    def forward(self, x):
        return self.l(x) if x.sum() > 0 else self.l(-x)

class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 2)
    def forward(self, x):
        return {"logits": self.l(x)}
"""


@pytest.fixture
def arch(tmp_path):
    path = tmp_path / "arch.py"
    path.write_text(textwrap.dedent(ARCH))
    return path


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def save(content, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    return path


def load(path, arch, factory, shape=(4,)):
    return load_model(path, arch=f"{arch}:{factory}", input_shape=shape)


def same(loaded, network, shape=(4,)):
    x = torch.randn(1, *shape)
    with torch.no_grad():
        assert torch.equal(loaded.program.module()(x), network.eval()(x))


def test_state_dict_and_arch(tmp_path, arch, capsys):
    net = plain()
    loaded = load(save(net.state_dict(), tmp_path), arch, "plain")
    same(loaded, net)
    assert loaded.input_shape == (1, 4)
    assert loaded.format == "checkpoint"
    assert loaded.trust == "runs the --arch file"
    assert [file.name for file in loaded.files] == ["weights.pth", "arch.py"]
    out, err = capsys.readouterr()
    assert out == ""
    assert "hello" in err


WRAPPED = {
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {"model": s, "optimizer": {"lr": 0.1}},
    "module. prefix": lambda s: {f"module.{k}": v for k, v in s.items()},
    "trainer prefix": lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}},
    "stages": lambda s: {"state_dict": [s, {}]},
    "list": lambda s: [s],
    "extra entries": lambda s: {**s, "epoch": 3},
}


@pytest.mark.parametrize("wrap", WRAPPED)
def test_checkpoints_in_the_wild(wrap, tmp_path, arch):
    net = plain()
    loaded = load(save(WRAPPED[wrap](net.state_dict()), tmp_path), arch, "plain")
    same(loaded, net)
    assert loaded.weights_sha256 == load(save(net.state_dict(), tmp_path), arch, "plain").weights_sha256 or (
        "prefix" in wrap
    )
    assert bool(loaded.notes) == (wrap not in {"state_dict", "model"})


def test_safetensors_with_metadata(tmp_path, arch):
    net = plain()
    path = tmp_path / "w.bin"
    save_file(
        net.state_dict(), path, metadata={METADATA_KEY: '{"version": 1, "input_shape": [4], "scale": 2}'}
    )
    loaded = load_model(path, arch=f"{arch}:plain")
    same(loaded, net)
    assert loaded.format == "safetensors"
    assert loaded.preprocessing.scale == 2


def test_what_is_missing_is_said(tmp_path, arch):
    path = save(plain().state_dict(), tmp_path)
    with pytest.raises(UsageError, match="architecture is missing") as caught:
        load_model(path)
    assert "--arch" in caught.value.hint
    assert "0.weight [3, 4]" in caught.value.message
    with pytest.raises(UsageError, match="which input") as caught:
        load_model(path, arch=f"{arch}:plain")
    assert "--input-shape" in caught.value.hint


def test_all_mismatches_in_one_message(tmp_path, arch):
    state = dict(plain().state_dict())
    state["other"] = state.pop("0.bias")
    state["2.weight"] = torch.zeros(5, 5)
    with pytest.raises(InputRefused) as caught:
        load(save(state, tmp_path), arch, "plain")
    for word in ("missing 0.bias", "unexpected other", "2.weight is [5, 5]"):
        assert word in caught.value.message


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_weights_are_named(bad, tmp_path, arch):
    state = plain().state_dict()
    state["2.bias"][0] = bad
    with pytest.raises(InputRefused, match=r"'2\.bias' holds NaN or infinity"):
        load(save(state, tmp_path), arch, "plain")


@pytest.mark.parametrize(
    ("factory", "error", "says"),
    [
        ("fails", InputRefused, "RuntimeError: no GPU here"),
        ("leaves", InputRefused, "SystemExit"),
        ("number", InputRefused, "returned a int"),
        ("absent", UsageError, "no function 'absent'"),
        ("Two", InputRefused, "tuple of 2"),
        ("Named", InputRefused, "dict with keys logits"),
        ("Branches", InputRefused, "cannot be exported"),
    ],
)
def test_arch_failures_are_messages(factory, error, says, tmp_path, arch):
    state = {"l.weight": torch.ones(2, 4), "l.bias": torch.ones(2)}
    with pytest.raises(error, match=says):
        load(save(state, tmp_path), arch, factory)


def test_arch_places(tmp_path, arch, monkeypatch):
    path = save(plain().state_dict(), tmp_path)
    for bad in ("plain", "arch.py:", ":plain", "arch.py:a b"):
        with pytest.raises(UsageError, match="names no factory"):
            load_model(path, arch=bad, input_shape=(4,))
    with pytest.raises(InputUnavailable):
        load_model(path, arch=f"{tmp_path}/none.py:f", input_shape=(4,))
    with pytest.raises(InputUnavailable, match="no module named"):
        load_model(path, arch="nonexistent_xyz.sub:f", input_shape=(4,))
    arch.with_name("broken.py").write_text("def f(:\n")
    with pytest.raises(InputRefused, match="SyntaxError"):
        load_model(path, arch=f"{tmp_path}/broken.py:f", input_shape=(4,))
    monkeypatch.chdir(tmp_path)
    assert load_model(path, arch="arch:plain", input_shape=(4,)).files[0].name == "weights.pth"


def test_wrong_input_shape_is_refused(tmp_path, arch):
    with pytest.raises(InputRefused, match="does not run on a sample of shape"):
        load(save(plain().state_dict(), tmp_path), arch, "plain", shape=(5,))


@pytest.mark.parametrize("factory", ["parametrised", "hooked"])
def test_computed_weights_are_frozen(factory, tmp_path, arch):
    scope = {}
    exec(ARCH, scope)  # noqa: S102 - the architecture above
    torch.manual_seed(1)
    net = scope[factory]()
    net(torch.randn(8, 4))  # a step of power iteration
    net.eval()
    loaded = load(save(net.state_dict(), tmp_path), arch, factory)
    x = torch.randn(1, 4)
    torch.testing.assert_close(loaded.program.module()(x), net(x))
    targets = [str(n.target) for n in loaded.program.graph.nodes if n.op == "call_function"]
    assert targets == ["aten.linear.default", "aten.relu.default", "aten.linear.default"]
    assert any("parametrised" in note for note in loaded.notes)


def test_frozen_file_of_a_parametrised_architecture(tmp_path, arch):
    net = plain()
    same(load(save(net.state_dict(), tmp_path), arch, "parametrised"), net)


def test_spectral_norm_file_into_plain_architecture_is_refused(tmp_path, arch):
    net = nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 3)), nn.ReLU(), nn.Linear(3, 2))
    with pytest.raises(InputRefused, match="unexpected"):
        load(save(net.state_dict(), tmp_path), arch, "plain")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly(dtype, tmp_path, arch):
    net = plain().to(dtype)
    loaded = load(save(net.state_dict(), tmp_path), arch, "plain")
    same(loaded, net.float())
    assert any("widened" in note for note in loaded.notes)


def test_double_weights_stay_double(tmp_path, arch):
    net = plain().double()
    loaded = load(save(net.state_dict(), tmp_path), arch, "plain")
    x = torch.randn(1, 4, dtype=torch.float64)
    assert torch.equal(loaded.program.module()(x), net(x))


def test_batch_norm_without_counters(tmp_path, arch):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    net(torch.randn(5, 1, 4, 4))
    state = {k: v for k, v in net.state_dict().items() if "num_batches" not in k}
    same(load(save(state, tmp_path), arch, "normed", (1, 4, 4)), net, (1, 4, 4))


def test_not_a_state_dict(tmp_path, arch):
    for content in ({"epoch": 3}, 3, [], [1, 2]):
        with pytest.raises(InputRefused, match="not a state dict"):
            load(save(content, tmp_path), arch, "plain")


@pytest.mark.skipif(not SHARED.exists(), reason="../shared is absent")
@pytest.mark.parametrize(
    ("file", "channels", "image"), [("mnist_wong_kolter.pth", 1, 28), ("cifar_small_36px.pth", 3, 32)]
)
def test_published_checkpoints(file, channels, image, tmp_path):
    path = tmp_path / "arch.py"
    path.write_text(
        "from torch import nn\n"
        "def net():\n"
        f"    return nn.Sequential(nn.Conv2d({channels}, 16, 4, 2, 1), nn.ReLU(),\n"
        "        nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),\n"
        f"        nn.Linear(32 * {image // 4} ** 2, 100), nn.ReLU(), nn.Linear(100, 10))\n"
    )
    loaded = load_model(SHARED / file, arch=f"{path}:net", input_shape=(channels, image, image))
    assert bool(loaded.notes) == ("cifar" in file)


DRAWN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.{where} = {value}

    def forward(self, x):
        return self.last(x) * self.{where}


def build():
    return Net()
"""


@pytest.mark.parametrize(
    ("value", "fine"),
    [
        ("torch.randn(3)", False),
        ("self.last.weight.detach()[:, 0] * 100", False),
        ("torch.arange(3.0)", True),
    ],
)
def test_tensors_that_no_file_holds_must_not_be_random(tmp_path, value, fine):
    torch.manual_seed(0)
    save_file(dict(nn.ModuleDict({"last": nn.Linear(4, 3)}).state_dict()), tmp_path / "w.safetensors")
    (tmp_path / "net.py").write_text(DRAWN.format(where="scale", value=value))
    load = partial(
        load_model, tmp_path / "w.safetensors", arch=f"{tmp_path / 'net.py'}:build", input_shape=(4,)
    )
    if fine:
        assert load().input_shape == (1, 4)
    else:
        with pytest.raises(InputRefused, match=r"at random: scale"):
            load()

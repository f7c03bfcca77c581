"""The module that is certified is the one that is deployed: in eval mode, unwrapped, initialised."""

import textwrap
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lipaudit.errors import InputRefused
from lipaudit.load import load_model
from lipaudit.load.settle import refuse_training, settle

X = torch.zeros(1, 4)


def settled(module, example=X):
    notes = []
    return settle(module, example, "w.pth", notes), notes


class AlwaysTraining(nn.Sequential):
    def train(self, *_):
        return super().train(True)


class Fixed(nn.Dropout):
    @property
    def training(self):
        return True

    @training.setter
    def training(self, _):
        pass


class Wakes(nn.Linear):
    def forward(self, x):
        self.train()
        return super().forward(x)


def test_an_overridden_train_does_not_matter():
    module, _ = settled(AlwaysTraining(nn.Linear(4, 3), nn.Dropout(), nn.BatchNorm1d(3)))
    assert not any(part.training for part in module.modules())


def test_a_module_that_insists_is_refused():
    with pytest.raises(InputRefused, match=r"1 \(Fixed\) puts itself into training mode"):
        settled(nn.Sequential(nn.Linear(4, 3), Fixed()))


def test_a_module_that_wakes_up_is_refused():
    module, _ = settled(nn.Sequential(Wakes(4, 3)))
    module(X)
    with pytest.raises(InputRefused, match=r"0 \(Wakes\) puts itself into training mode"):
        refuse_training(module, "w.pth")


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_wrappers_come_off(wrap):
    inner = nn.Linear(4, 3)
    assert settled(wrap(inner))[0] is inner
    assert settled(nn.DataParallel(wrap(inner)))[0] is inner
    module, notes = settled(nn.Sequential(wrap(inner), nn.ReLU()))
    assert module[0] is inner
    assert set(module.state_dict()) == {"0.weight", "0.bias"}
    assert any("unwrapped" in note for note in notes)


def test_compiling_in_place_is_undone():
    module = nn.Sequential(nn.Linear(4, 3))
    module[0].compile(backend="eager")
    assert settled(module)[0][0]._compiled_call_impl is None


def test_lazy_layers_get_their_shapes():
    module, _ = settled(nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(2)))
    assert [tuple(value.shape) for value in module.state_dict().values()] == [(5, 4), (5,), (2, 5), (2,)]
    with pytest.raises(InputRefused, match="lazy layers cannot be initialised"):
        settled(nn.Sequential(nn.LazyLinear(5), nn.Linear(6, 2)))


def test_scripts_and_quantized_layers_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(nn.Linear(4, 3))
        quantized = torch.ao.nn.quantized.Linear(4, 3)
    with pytest.raises(InputRefused, match="TorchScript"):
        settled(script)
    with pytest.raises(InputRefused, match=r"quantized layers \(0"):
        settled(nn.Sequential(quantized))


ARCH = """
import torch
from torch import nn
from torch.nn import functional

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 3)
        self.d = nn.Dropout()

class Awake(Base):
    def forward(self, x):
        self.d.training = True
        return self.l(x)

class Always(Base):
    def forward(self, x):
        return functional.dropout(self.l(x), 0.5)

class Calls(Base):
    def forward(self, x):
        return torch.func.functional_call(self.l, dict(self.l.named_parameters()), (x,))

class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.LazyLinear(3)

    def forward(self, x):
        return self.l(x)

class Buffer(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("b", torch.arange(3.0), persistent=False)

    def forward(self, x):
        return self.l(x) + self.b

def wrapped():
    return nn.DataParallel(Calls())

def compiled():
    return torch.compile(Calls(), backend="eager")
"""


@pytest.mark.parametrize(
    ("factory", "says"),
    [("Awake", r"d \(Dropout\) puts itself into training mode"), ("Always", "depends on chance|differ")],
)
def test_dropout_that_stays_awake(factory, says, tmp_path):
    with pytest.raises(InputRefused, match=says):
        loaded(factory, tmp_path)


@pytest.mark.parametrize("factory", ["Calls", "Lazy", "Buffer", "wrapped", "compiled"])
def test_unusual_modules_load(factory, tmp_path):
    model = loaded(factory, tmp_path)
    expected = torch.ones(1, 3) * 4.5 + (torch.arange(3.0) if factory == "Buffer" else 0)
    torch.testing.assert_close(model.program.module()(torch.ones(1, 4)), expected)


def loaded(factory, tmp_path):
    save_file({"l.weight": torch.ones(3, 4), "l.bias": torch.full((3,), 0.5)}, tmp_path / "w.safetensors")
    (tmp_path / "net.py").write_text(textwrap.dedent(ARCH))
    return load_model(tmp_path / "w.safetensors", arch=f"{tmp_path}/net.py:{factory}", input_shape=(4,))

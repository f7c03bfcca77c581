"""What is counted is exact, what runs is the network, and what cannot be measured says why."""

import json
from functools import cache

import numpy as np
import onnx
import pytest
import tiny_models as tiny
import torch
from safetensors.torch import save_file
from torch import nn

from lipaudit.cost import Asked, memory, prepare, time_all, timing
from lipaudit.cost.forward import forward_pass
from lipaudit.cost.memory import is_out_of_memory, peak_of
from lipaudit.cost.parameters import count_parameters, count_read
from lipaudit.cost.training import training_step
from lipaudit.cost.work import CannotRun, bytes_of
from lipaudit.errors import UsageError
from lipaudit.load import load_model
from lipaudit.load.export import export_module

CPU = torch.device("cpu")
NETWORK = """
import torch
from torch import nn

def make(kind="plain"):
    return globals()[kind]()

def plain():
    return nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 3))

def spectral():
    return nn.Sequential(nn.Flatten(), nn.utils.parametrizations.spectral_norm(nn.Linear(64, 3)))

def untrainable():
    return plain().requires_grad_(False)

class Broken(nn.Sequential):
    def forward(self, x):
        if self.training:
            raise ValueError("no training today")
        return super().forward(x)

def broken():
    return Broken(*plain())

class Ending(nn.Sequential):
    def forward(self, x):
        if self.training:
            raise SystemExit(3)
        return super().forward(x)

def ending():
    return Ending(*plain())

def image():
    return plain()[:3]
"""
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("cost")
    (place / "net.py").write_text(NETWORK)
    names = {}
    exec(NETWORK, names)  # noqa: S102 - the network above
    torch.manual_seed(0)
    network = names["plain"]().eval()
    save_file(network.state_dict(), place / "plain.safetensors")
    save_file(names["spectral"]().state_dict(), place / "spectral.safetensors")
    torch.onnx.export(
        network,
        (torch.zeros(1, *SHAPE),),
        place / "plain.onnx",
        dynamo=True,
        optimize=False,
        external_data=False,
        verbose=False,
    )
    return place


@cache
def loaded(folder, name="plain.safetensors", kind="plain"):
    arch = f"{folder}/net.py:make{json.dumps({'kind': kind})}"
    return load_model(folder / name, arch=arch, input_shape=SHAPE), arch


# Parameters


def test_formats_agree_on_parameters_and_memory(folder):
    one, _ = loaded(folder)
    other = load_model(folder / "plain.onnx", input_shape=None)
    # convolution, four vectors of the batch norm (not its counter), dense layer
    assert count_parameters(one) == 4 * 8 * 9 + 8 + 4 * 8 + 32 * 3 + 3
    assert count_parameters(other) == count_parameters(one)
    costs = [prepare(model, None, Asked(16, CPU)).costs() for model in (one, other)]
    assert costs[0].forward == costs[1].forward


def test_shared_and_unread_tensors():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.unread = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    assert count_read(export_module(Net(), torch.zeros(1, 4), "net")) == 16 + 4 + 4


# The forward pass


def test_the_batch_gives_what_its_samples_give(folder):
    model, _ = loaded(folder)
    work = forward_pass(model, CPU, 7)
    assert work.how == "the exported program, its sizes set to the batch"
    rows = work.run()
    module = model.program.module()
    generator = torch.Generator().manual_seed(0)
    samples = torch.rand(7, *SHAPE, generator=generator)
    alone = torch.cat([module(x[None]) for x in samples])
    assert rows.shape == (7, 3)
    assert torch.allclose(rows, alone, atol=1e-6)


def exported(module, shape):
    program = export_module(module.eval(), torch.zeros(1, *shape), "net")
    stub = type(
        "Stub", (), {"program": program, "input_shape": (1, *shape), "format": "onnx", "parameters": None}
    )
    return stub()


class Whole(nn.Module):
    """Its sizes hold no batch: one sample as a whole."""

    def forward(self, x):
        return (x.reshape(6, 4) @ torch.ones(4, 4)).reshape(1, 24)


class Coupled(nn.Module):
    """Rows depend on each other, so that a batch is no set of samples."""

    def forward(self, x):
        return x - x.mean(0) + x.sum()


class Looping(nn.Module):
    """`torch.vmap` has no rule for batch norm, and the sizes hold no batch."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(x.reshape(6, 4)).reshape(1, 24)


def test_where_sizes_hold_no_batch_the_program_is_mapped():
    work = forward_pass(exported(Whole(), (24,)), CPU, 5)
    assert work.how == "the exported program under torch.vmap"
    assert work.run().shape == (5, 24)


def test_a_mapped_program_is_not_taken_for_a_coupled_batch():
    work = forward_pass(exported(Coupled(), (4,)), CPU, 5)
    assert work.how == "the exported program under torch.vmap"


def test_a_loop_over_samples_is_not_timed():
    with pytest.raises(CannotRun, match="one sample at a time"):
        forward_pass(exported(Looping(), (24,)), CPU, 5)
    costs = prepare(exported(Looping(), (24,)), None, Asked(5, CPU)).costs()
    assert costs.forward is None
    assert costs.notes == ("forward pass: the exported program runs on one sample at a time only",)


# Memory


def test_the_peak_is_that_of_live_tensors():
    x = torch.zeros(1000, dtype=torch.float32)

    def run():
        a = x + 1  # 4000
        b = a + 1  # 8000
        del a
        c = torch.cat([b, b])  # 4000 + 8000
        del b
        return float(c[0])

    peak = peak_of(run, CPU)
    assert 12_000 <= peak <= 12_500  # the float that is looked up is a tensor, too


def test_a_temporary_buffer_inside_an_operator_counts():
    x = torch.zeros(100, 1000)
    assert (
        peak_of(lambda: torch.logsumexp(x, 1), CPU) >= x.nbytes
    )  # the exponentials; the result has 400 bytes


def test_measuring_says_nothing(capfd):
    peak_of(lambda: torch.zeros(10) + 1, CPU)
    assert capfd.readouterr() == ("", "")


def test_memory_grows_with_the_batch_and_holds_the_weights(folder):
    model, _ = loaded(folder)
    one, two = (prepare(model, None, Asked(n, CPU)).costs().forward for n in (64, 128))
    weights = 4 * count_parameters(model)
    assert two.peak_bytes - one.peak_bytes == pytest.approx(one.peak_bytes - weights, rel=0.01)
    assert one.peak_bytes > weights + 4 * 64 * 64


def test_a_smaller_batch_where_memory_ends(folder, monkeypatch):
    model, _ = loaded(folder)
    whole = prepare(model, None, Asked(64, CPU)).costs().forward
    monkeypatch.setattr("lipaudit.cost.available", lambda _: whole.peak_bytes // 3)
    costs = prepare(model, None, Asked(64, CPU)).costs()
    assert costs.forward.batch == 16
    assert costs.notes == ("forward pass: 64 samples do not fit into the memory, 16 were taken",)


def test_what_does_not_grow_with_the_batch_is_not_multiplied(monkeypatch):
    class Heavy(nn.Module):
        def forward(self, x):
            return x + torch.ones(500, 500).exp().sum()

    monkeypatch.setattr("lipaudit.cost.available", lambda _: 4_100_000)
    costs = prepare(exported(Heavy(), (4,)), None, Asked(64, CPU)).costs()
    assert costs.forward.batch == 64


def test_a_batch_that_fails_is_halved(folder, monkeypatch):
    model, _ = loaded(folder)
    real = memory.peak_of

    def failing(run, device):
        if len(run.args[1]) > 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return real(run, device)

    monkeypatch.setattr("lipaudit.cost.peak_of", failing)
    assert prepare(model, None, Asked(64, CPU)).costs().forward.batch == 8


def test_out_of_memory_has_three_names():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: …"))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_available_is_less_than_there_is():
    assert 0 < memory.available(CPU) < 1 << 50
    assert memory.available(torch.device("cuda")) is None


def test_bytes_of_views_are_counted_once():
    x = torch.zeros(10)
    assert bytes_of(x, x[2:], torch.zeros(2, dtype=torch.float64)) == 40 + 16


# Time


def test_models_take_turns(folder, monkeypatch):
    model, _ = loaded(folder)
    asked = Asked(2, CPU)
    models = [prepare(model, None, asked) for _ in range(2)]
    order = []
    for name, made in zip("ab", models, strict=True):
        run = made.forward.work.run
        monkeypatch.setattr(made.forward, "work", _noted(made.forward.work, run, order, name))
    monkeypatch.setattr(timing, "_ENOUGH", 0.0)
    time_all(models, asked)
    assert "".join(order) == "aabb" + "ab" * 5
    assert [m.costs().forward.seconds.runs for m in models] == [5, 5]


def _noted(work, run, order, name):
    def noted():
        order.append(name)
        return run()

    return type(work)(run=noted, held=work.held, dtype=work.dtype, how=work.how)


def test_a_run_that_fails_is_told_and_disturbs_no_other(folder, monkeypatch):
    model, _ = loaded(folder)
    asked = Asked(2, CPU)
    models = [prepare(model, None, asked) for _ in range(2)]

    def failing():
        raise ValueError("not today")

    work = models[0].forward.work
    models[0].forward.work = type(work)(run=failing, held=work.held, dtype=work.dtype, how=work.how)
    monkeypatch.setattr(timing, "_ENOUGH", 0.0)
    time_all(models, asked)
    bad, good = (m.costs() for m in models)
    assert bad.forward.seconds is None
    assert bad.notes == ("forward pass: a run failed: ValueError: not today",)
    assert good.forward.seconds.runs == 5


@pytest.mark.parametrize("batch", [0, -1, 1 << 21])
def test_a_batch_that_cannot_be_meant(batch):
    with pytest.raises(UsageError):
        Asked(batch, CPU)


# A training step


def test_a_step_of_the_module_with_its_parametrisations(folder):
    model, arch = loaded(folder, "spectral.safetensors", "spectral")
    work = training_step(model, arch, CPU, 4)
    assert work.parameters == 64 * 3 + 3
    work.run()
    made = prepare(model, arch, Asked(4, CPU, train=True)).costs()
    assert made.training.peak_bytes > made.forward.peak_bytes
    assert made.notes == ()


def test_a_step_changes_no_parameter_and_keeps_no_gradient(folder, monkeypatch):
    model, arch = loaded(folder)
    built = []
    from lipaudit.cost import training  # noqa: PLC0415

    real = training.build_module

    def watched(*args, **kwargs):
        built.append(real(*args, **kwargs))
        return built[-1]

    monkeypatch.setattr(training, "build_module", watched)
    work = training_step(model, arch, CPU, 4)
    module = built[0].module
    assert module.training
    before = [p.detach().clone() for p in module.parameters()]
    work.run()
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("untrainable", "no parameter of the module asks for a gradient"),
        ("broken", "the module does not train: ValueError: no training today"),
        ("ending", "the module does not train: SystemExit: 3"),
        ("image", "the module does not return one row of scores per sample"),
    ],
)
def test_a_module_that_does_not_train_says_so(folder, kind, why):
    model, _ = loaded(folder)
    costs = prepare(model, f'{folder}/net.py:make{{"kind": "{kind}"}}', Asked(4, CPU, train=True)).costs()
    assert costs.training is None
    assert costs.notes == (f"training step: {why}",)
    assert costs.forward is not None


def test_an_onnx_file_does_not_train(tmp_path):
    model = load_model(tiny.write_onnx(tmp_path / "m.onnx"))
    costs = prepare(model, None, Asked(4, CPU, train=True)).costs()
    assert costs.training is None
    assert "a file of format onnx holds the trained program" in costs.notes[0]


def test_float64_stays_float64(tmp_path):
    weight = np.eye(3, 4)
    nodes = [onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)]
    kind = onnx.TensorProto.DOUBLE
    graph = onnx.helper.make_graph(
        nodes,
        "net",
        [onnx.helper.make_tensor_value_info("x", kind, ["n", 4])],
        [onnx.helper.make_tensor_value_info("y", kind, ["n", 3])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "d.onnx",
    )
    costs = prepare(load_model(tmp_path / "d.onnx"), None, Asked(2, CPU)).costs()
    assert (costs.forward.dtype, costs.parameters) == ("float64", 12)
    assert costs.forward.peak_bytes == 8 * (12 + 2 * 4 + 2 * 3)

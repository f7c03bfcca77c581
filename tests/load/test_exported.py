"""torch.export archives: the function that was saved, from data alone."""

import io
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch._export.serde.serialize import serialize
from torch.nn import functional
from torch.nn.utils import parametrizations

import lipaudit
from lipaudit.errors import InputRefused, LipauditError, UsageError
from lipaudit.load import METADATA_KEY, load_model
from lipaudit.load.translate import translate


class Function(nn.Module):
    """A linear map and a function behind it."""

    def __init__(self, function, *modules):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.function = function
        self.inner = nn.ModuleList(modules)
        self.register_buffer("scale", torch.full((6,), 1.5), persistent=False)

    def forward(self, x):
        return self.function(self, self.linear(x))


def small(**options):
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, **options),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(2, divisor_override=1),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


def writes(network, x):
    x = x.clone()
    x[:, 0] = 0
    x[:, 1:3] += network.scale[:2]
    return x


NETWORKS = {
    "convolutions": (small, (1, 4, 4)),
    "circular": (lambda: small(padding_mode="circular"), (1, 4, 4)),
    "weight norm": (lambda: parametrizations.weight_norm(nn.Linear(6, 4)), (6,)),
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Linear(6, 4)), (6,)),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(6, 4)), (6,)),
    "writes": (lambda: Function(writes), (6,)),
    "split": (lambda: Function(lambda n, x: torch.cat(x.split([1, 2, 3], 1)[::-1], 1) * n.scale), (6,)),
    "maximum": (lambda: Function(lambda _, x: x.max(1, keepdim=True)[0] + x.sort(1)[0]), (6,)),
    "sizes": (lambda: Function(lambda _, x: x.view(x.shape[0], 2, x.shape[1] // 2).flatten(1)), (6,)),
    "gelu": (lambda: Function(lambda _, x: functional.gelu(x, approximate="tanh")), (6,)),
    "infinite limit": (lambda: Function(lambda _, x: x.clamp(min=-float("inf"), max=0.5)), (6,)),
    "constant": (lambda: Function(lambda _, x: x * torch.arange(6) + torch.ones(6)), (6,)),
    "group norm": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.PReLU()), (1, 5, 5)),
    "attention": (lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), (3, 6)),
}


def save(network, path, shape, *, batch=1, dynamic=False, decomposed=False, **options):
    example = torch.zeros(batch, *shape) if shape is not None else torch.zeros(batch)
    axes = ({0: torch.export.Dim("b", min=1, max=64)},) if dynamic else None
    with warnings.catch_warnings():  # what the exporter thinks of its own output
        warnings.simplefilter("ignore")
        program = torch.export.export(network.eval(), (example,), dynamic_shapes=axes)
        if decomposed:
            program = program.run_decompositions()
        torch.export.save(program, path, **options)
    return path


def same(loaded, network, shape):
    x = torch.randn(1, *shape)
    with torch.no_grad():
        expected = network.eval()(x.clone())
        torch.testing.assert_close(loaded.program.module()(x), expected)
    rows = torch.from_numpy(loaded.reference(np.concatenate([x.numpy(), x.numpy()])))
    torch.testing.assert_close(rows, expected.reshape(1, -1).repeat(2, 1))


@pytest.mark.parametrize(
    ("name", "dynamic"), [*((name, True) for name in NETWORKS), ("sizes", False), ("writes", False)]
)
def test_the_saved_function(name, dynamic, tmp_path):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    network = make()
    path = save(network, tmp_path / "m.pt2", shape, batch=2 if dynamic else 1, dynamic=dynamic)
    loaded = load_model(path)
    same(loaded, network, shape)
    assert loaded.input_shape == (1, *shape)
    assert (loaded.format, loaded.trust, loaded.notes) == ("torch.export", "data only", ())
    x = torch.randn(1, *shape)
    torch.testing.assert_close(torch.export.load(path).module()(x), loaded.program.module()(x))


@pytest.mark.parametrize("name", ["convolutions", "writes", "maximum"])
def test_decomposed_programs(name, tmp_path):
    make, shape = NETWORKS[name]
    network = make()
    same(load_model(save(network, tmp_path / "m.pt2", shape, decomposed=True)), network, shape)


def test_layers_keep_their_names(tmp_path):
    loaded = load_model(save(small(), tmp_path / "m.pt2", (1, 4, 4)))
    graph = translate(loaded.program, loaded.titles)
    assert [node.name for node in graph if node.name != "clone"] == ["0", "1", "2", "3", "5", "6"]


@pytest.mark.parametrize("batch", [3, 5])
def test_a_fixed_batch_is_set_to_one(batch, tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    loaded = load_model(save(network, tmp_path / "m.pt2", (1, 4, 4), batch=batch))
    same(loaded, network, (1, 4, 4))
    assert any(f"fixed batch of {batch}" in note for note in loaded.notes)


def test_a_batch_that_cannot_be_changed_is_refused(tmp_path):
    path = save(Function(lambda _, x: x.view(4, 3, 2).flatten(1)), tmp_path / "m.pt2", (6,), batch=4)
    with pytest.raises(InputRefused, match="fixed batch that cannot be set to 1"):
        load_model(path)


def test_coupled_samples_are_refused(tmp_path):
    path = save(Function(lambda _, x: x - x.mean(0)), tmp_path / "m.pt2", (6,), batch=4, dynamic=True)
    with pytest.raises(InputRefused, match="influence each other"):
        load_model(path)


def test_without_a_batch_axis(tmp_path):
    network = nn.Linear(6, 2)
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(network, (torch.zeros(6),)), path)
    loaded = load_model(path)
    same(loaded, network, (6,))
    assert any("no batch axis" in note for note in loaded.notes)


def open_axes(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    axes = ({0: torch.export.Dim("b", max=9), 2: torch.export.Dim("h", min=4, max=99)},)
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(network, (torch.zeros(2, 1, 8, 7),), dynamic_shapes=axes), path)
    return network, path


def test_open_axes_need_a_shape(tmp_path):
    network, path = open_axes(tmp_path)
    with pytest.raises(UsageError, match="open axes") as caught:
        load_model(path)
    assert "--input-shape" in caught.value.hint
    same(load_model(path, input_shape=(1, 5, 7)), network, (1, 5, 7))
    same(load_model(path, default_shape=(1, 6, 7)), network, (1, 6, 7))
    with pytest.raises(UsageError, match=r"contradicts the program's \[\?, 1, \?, 7\]"):
        load_model(path, input_shape=(1, 5, 6))


def test_metadata_lie_beside_the_program(tmp_path):
    stated = {METADATA_KEY: '{"version": 1, "scale": 2, "input_shape": [1, 4, 4]}'}
    loaded = load_model(save(small(), tmp_path / "m.pt2", (1, 4, 4), extra_files=stated))
    assert loaded.preprocessing.scale == 2
    wrong = {METADATA_KEY: '{"version": 1, "input_shape": [3, 4, 4]}'}
    with pytest.raises(InputRefused, match="the metadata's input shape"):
        load_model(save(small(), tmp_path / "m.pt2", (1, 4, 4), extra_files=wrong))


class Two(nn.Module):
    def forward(self, x, scale):
        return x * scale, x


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        return x * self.calls


def quiet(_, x):
    with torch.no_grad():
        return x * 2


REFUSED = {
    "two inputs": (lambda: (Two(), (torch.zeros(1, 3), torch.zeros(3))), r"2 inputs \(x, scale\)"),
    "two outputs": (
        lambda: (Function(lambda _, x: tuple(x.max(1))), (torch.zeros(1, 6),)),
        r"returns 2 tensors \(",
    ),
    "state": (lambda: (Counts(), (torch.zeros(1, 3),)), "changes .*calls"),
    "no_grad": (lambda: (Function(quiet), (torch.zeros(1, 6),)), "control flow or regions"),
    "half": (lambda: (nn.ReLU(), (torch.zeros(1, 3).half(),)), "takes float16 numbers"),
    "whole numbers": (lambda: (nn.Embedding(3, 2), (torch.zeros(1, 3, dtype=torch.int64),)), "takes int64"),
    "chance": (
        lambda: (Function(lambda _, x: x + torch.rand_like(x)), (torch.zeros(1, 6),)),
        r"rand_like\.default, which is random",
    ),
    "mask": (
        lambda: (Function(lambda _, x: x[:, torch.tensor([True, False] * 3)]), (torch.zeros(1, 6),)),
        r"aten\.index\.Tensor",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_function_of_one_tensor(case, tmp_path):
    make, says = REFUSED[case]
    network, example = make()
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(network.eval(), example), path)
    with pytest.raises(InputRefused, match=says):
        load_model(path)


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("layer", [nn.Dropout(), nn.BatchNorm1d(6)], ids=["dropout", "batch norm"])
def test_training_mode_is_refused(layer, decomposed, tmp_path):
    program = torch.export.export(nn.Sequential(nn.Linear(6, 6), layer).train(), (torch.zeros(2, 6),))
    path = tmp_path / "m.pt2"
    torch.export.save(program.run_decompositions() if decomposed else program, path)
    with pytest.raises(InputRefused) as caught:
        load_model(path)
    assert "model.eval()" in caught.value.hint


def test_arch_makes_no_sense(tmp_path):
    with pytest.raises(UsageError, match="--arch is for files that hold weights only"):
        load_model(save(small(), tmp_path / "m.pt2", (1, 4, 4)), arch="a.py:b")


def test_nan_is_refused(tmp_path):
    network = nn.Linear(3, 2)
    network.bias.data[0] = float("nan")
    with pytest.raises(InputRefused, match="'bias' holds NaN"):
        load_model(save(network, tmp_path / "m.pt2", (3,)))


def test_the_audit_agrees_with_the_one_of_the_weights(tmp_path):
    torch.manual_seed(0)
    network = small().eval()
    save(network, tmp_path / "m.pt2", (1, 4, 4))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    source = Path(__file__).read_text(encoding="utf-8").split("def small")[1].split("\n\n\n")[0]
    (tmp_path / "net.py").write_text(f"from torch import nn\ndef small{source}\n")
    exported = lipaudit.audit(tmp_path / "m.pt2", attack=False).evidence
    weights = lipaudit.audit(
        tmp_path / "w.safetensors", arch=f"{tmp_path}/net.py:small", input_shape=(1, 4, 4), attack=False
    ).evidence
    assert exported.global_.upper.value == pytest.approx(weights.global_.upper.value, rel=1e-9)
    assert [layer.name for layer in exported.layers] == [layer.name for layer in weights.layers]
    assert exported.model.weights_sha256 == weights.model.weights_sha256
    assert exported.model.conversion.reference == "the saved program, call by call"


def old_layout(program, path, layout):
    """The archives that torch 2.7 and 2.8 wrote: weights in one pickle."""
    parts = serialize(program)
    if layout == "2.7":
        entries = {
            "serialized_exported_program.json": parts.exported_program,
            "serialized_state_dict.pt": parts.state_dict,
            "serialized_constants.pt": parts.constants,
            "serialized_example_inputs.pt": parts.example_inputs,
            "version": b"8.8",
        }
    else:
        entries = {
            "m/archive_format": b"pt2",
            "m/archive_version": b"0",
            "m/byteorder": b"little",
            "m/models/model.json": parts.exported_program,
            "m/data/weights/model.pt": parts.state_dict,
            "m/data/constants/model.pt": parts.constants,
            "m/data/sample_inputs/model.pt": parts.example_inputs,
        }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("layout", ["2.7", "2.8"])
def test_older_layouts(layout, tmp_path):
    torch.manual_seed(0)
    network = Function(lambda n, x: x * n.scale + torch.ones(6)).eval()
    old_layout(torch.export.export(network, (torch.zeros(1, 6),)), tmp_path / "m.pt2", layout)
    same(load_model(tmp_path / "m.pt2"), network, (6,))


def test_another_schema_is_named(tmp_path):
    path = save(nn.Linear(3, 2), tmp_path / "m.pt2", (3,))
    entries = read(path)
    (model,) = [name for name in entries if name.endswith("models/model.json")]
    program = json.loads(entries[model])
    program["schema_version"]["major"] = 7
    program["torch_version"] = "2.4.0"
    entries[model] = json.dumps(program).encode()
    write(path, entries)
    with pytest.raises(InputRefused, match=r"torch '2\.4\.0' in schema 7"):
        load_model(path)


def read(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def test_truncated_archives_are_refused(tmp_path):
    data = save(small(), tmp_path / "m.pt2", (1, 4, 4)).read_bytes()
    path = tmp_path / "cut.pt2"
    for end in range(0, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:end])
        with pytest.raises(LipauditError):
            load_model(path)


def test_two_programs_in_one_archive(tmp_path):
    buffer = io.BytesIO()
    program = torch.export.export(nn.Linear(3, 2), (torch.zeros(1, 3),))
    torch.export.save(program, buffer)
    path = tmp_path / "m.pt2"
    path.write_bytes(buffer.getvalue())
    entries = read(path)
    (model,) = [name for name in entries if name.endswith("models/model.json")]
    write(path, {**entries, model.replace("model.json", "other.json"): entries[model]})
    with pytest.raises(InputRefused, match="holds 2 exported programs"):
        load_model(path)

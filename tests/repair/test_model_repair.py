"""A model in, a certified model out: what is written keeps the limit, all else stays as it was."""

import hashlib

import numpy as np
import onnx
import pytest
import repair_models as models
import torch
from onnx import helper, numpy_helper
from safetensors import safe_open
from safetensors.torch import load, load_file, save_file

from lipaudit.errors import Unreached, UsageError
from lipaudit.pipeline import audit
from lipaudit.repair.methods import FASTCLIP, METHODS
from lipaudit.repair.model_repair import repair_model
from lipaudit.repair.wish import Wish

QUICK = {"attack": False, "profile": "fast"}


class Watcher:
    """Notes the stages of a progress, and how many steps of each were counted."""

    def __init__(self):
        self.stages = []

    def stage(self, name, total):
        self.stages.append([name, total, 0])

    def advance(self, n=1):
        self.stages[-1][2] += n


def initializers(data):
    model = onnx.ModelProto.FromString(data)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def bound_of(path, **options):
    return audit(path, **QUICK, **options).evidence.global_.upper.value


def written(tmp_path, data, name="out.onnx"):
    place = tmp_path / name
    place.write_bytes(data)
    return place


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return models.write_network(tmp_path_factory.mktemp("clip") / "net.onnx")


@pytest.fixture(scope="module")
def halved(model):
    return repair_model(model, Wish(layer_norm=0.5), ("onnx", "safetensors"), **QUICK)


@pytest.mark.parametrize(
    "how",
    [pytest.param(m.name, marks=[] if m.name == FASTCLIP else [pytest.mark.slow]) for m in METHODS],
)
def test_the_file_as_written_has_the_bound(model, tmp_path, how):
    digest = hashlib.sha256(model.read_bytes()).digest()
    before = bound_of(model)
    watcher = Watcher()
    done = repair_model(model, Wish(lipschitz=before / 5, how=how), progress=watcher, **QUICK)
    assert all(name for name, _, _ in watcher.stages)
    clipping = [stage for stage in watcher.stages if stage[0].startswith("clipping, round")]
    assert clipping
    assert all(total == counted == 3 for _, total, counted in clipping)
    after = bound_of(written(tmp_path, done.files["onnx"]))
    assert before / 5 * 0.97 <= after <= before / 5
    assert done.repair.after.bracket.upper.value == after
    assert hashlib.sha256(model.read_bytes()).digest() == digest


@pytest.mark.slow
def test_all_but_the_weights_is_kept(model, halved):
    done = halved
    old, new = onnx.load(model), onnx.ModelProto.FromString(done.files["onnx"])
    assert list(old.graph.node) == list(new.graph.node)
    assert list(old.metadata_props) == list(new.metadata_props)
    assert old.graph.doc_string == new.graph.doc_string == "kept"
    before, after = models.tensors(), initializers(done.files["onnx"])
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"conv.weight", "bn.bias", "first", "second"}
    assert all(before[name].dtype == after[name].dtype for name in before)
    held = load(done.files["safetensors"])
    assert held.keys() == after.keys()
    assert all(np.array_equal(held[name].numpy(), after[name]) for name in held)


def test_batch_norm_is_clipped_with_its_convolution(halved):
    norms = {layer.name: layer.upper.value for layer in halved.after.evidence.layers}
    assert norms["conv"] <= 0.5 * (1 + 1e-8)
    weight = initializers(halved.files["onnx"])["conv.weight"]
    # Channel 2 is multiplied by 0: nothing there needs to change.
    assert np.array_equal(weight[2], models.tensors()["conv.weight"][2])
    # By another program: the composition, preprocessing included, as torch computes it.
    held = models.tensors()
    gain = held["bn.weight"] / np.sqrt(held["bn.var"] + 1e-5) / 0.3
    basis = torch.eye(models.SIDE**2).reshape(-1, 1, models.SIDE, models.SIDE)
    image = torch.nn.functional.conv2d(basis, torch.from_numpy(weight * gain[:, None, None, None]), padding=1)
    norm = torch.linalg.matrix_norm(image.flatten(1).double(), 2)
    assert 0.49 < norm <= 0.5 * (1 + 1e-6)


def test_layers_that_were_not_named_stay(model):
    done = repair_model(model, Wish(layer_norm=0.5, layers=("de*",)), **QUICK)
    before, after = models.tensors(), initializers(done.files["onnx"])
    assert [n for n in before if not np.array_equal(before[n], after[n])] == ["first"]
    told = {row.name: row.action for row in done.repair.layers}
    assert told == {"conv": "not asked for", "dense": "clipped", "head": "not asked for"}


def test_a_pattern_means_a_layer(model):
    with pytest.raises(UsageError, match="no linear layer") as told:
        repair_model(model, Wish(layer_norm=0.5, layers=("conv9",)), **QUICK)
    assert "conv" in told.value.hint


def test_a_limit_that_is_kept_changes_nothing(model):
    done = repair_model(model, Wish(lipschitz=1e9), **QUICK)
    before, after = models.tensors(), initializers(done.files["onnx"])
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert "nothing had to be changed" in done.repair.notes[0]


@pytest.mark.slow
def test_samples_show_what_it_cost(model, tmp_path):
    data = models.write_samples(tmp_path / "s.npz")
    done = repair_model(model, Wish(lipschitz=bound_of(model) / 3), dataset=data, **QUICK)
    change, before = done.repair.change, done.repair.before.robustness
    assert change.samples == before.clean_accuracy.n == 40
    assert 0 < change.median <= change.largest
    assert 0 <= change.same_answer <= 40


def test_external_data_move_inside(tmp_path):
    path = models.write_network(tmp_path / "net.onnx", external=True)
    assert (tmp_path / "net.onnx.data").exists()
    data = (tmp_path / "net.onnx.data").read_bytes()
    done = repair_model(path, Wish(layer_norm=0.5), **QUICK)
    assert bound_of(written(tmp_path, done.files["onnx"])) > 0
    assert (tmp_path / "net.onnx.data").read_bytes() == data
    assert all(not t.external_data for t in onnx.ModelProto.FromString(done.files["onnx"]).graph.initializer)


def tied(tmp_path, second):
    """Two dense layers with a relu between them, the second reading `second`."""
    square = models.numbers(5, 5, scale=2)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], name="one", transB=1),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Gemm", ["b", second], ["c"], name="two", transB=1),
        helper.make_node("Relu", ["c"], ["d"], name="relu2"),
        helper.make_node("Gemm", ["d", "head"], ["y"], name="head", transB=1),
    ]
    held = {"w": square, "head": models.numbers(3, 5, seed=1)}
    if second != "w":
        held[second] = square.copy()
    return models.write_graph(tmp_path / "tied.onnx", nodes, held)


@pytest.mark.parametrize("second", ["w", pytest.param("copy", marks=pytest.mark.slow)])
def test_tied_weights_are_left_alone_and_told(tmp_path, second):
    path = tied(tmp_path, second)
    done = repair_model(path, Wish(lipschitz=bound_of(path) / 3), **QUICK)
    old, new = initializers(path.read_bytes()), initializers(done.files["onnx"])
    assert [n for n in old if not np.array_equal(old[n], new[n])] == ["head"]
    rows = {row.name: row for row in done.repair.layers}
    assert rows["one"].action == rows["two"].action == "left alone"
    assert rows["one"].why
    with pytest.raises(Unreached, match="left alone"):
        repair_model(path, Wish(layer_norm=0.1), **QUICK)


def test_weights_that_the_graph_computes_are_left_alone(tmp_path):
    nodes = [
        helper.make_node("Mul", ["w", "half"], ["v"], name="scale"),
        helper.make_node("Gemm", ["x", "v"], ["a"], name="one", transB=1),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Gemm", ["b", "head"], ["y"], name="head", transB=1),
    ]
    held = {
        "w": models.numbers(5, 5),
        "half": np.full(1, 0.3, np.float32),
        "head": models.numbers(3, 5, seed=1),
    }
    path = models.write_graph(tmp_path / "computed.onnx", nodes, held)
    done = repair_model(path, Wish(lipschitz=bound_of(path) / 2), **QUICK)
    rows = {row.name: row for row in done.repair.layers}
    assert rows["one"].action == "left alone"
    assert rows["head"].action == "clipped"


def test_float64_models_stay_float64(tmp_path):
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], name="one", transB=1)]
    path = models.write_graph(
        tmp_path / "wide.onnx", nodes, {"w": models.numbers(4, 5, dtype=np.float64)}, onnx.TensorProto.DOUBLE
    )
    done = repair_model(path, Wish(layer_norm=0.7), **QUICK)
    (weight,) = initializers(done.files["onnx"]).values()
    assert weight.dtype == np.float64
    assert np.linalg.norm(weight / 0.3, 2) == pytest.approx(0.7, rel=1e-6)


ARCH = """
from torch import nn
def build():
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4))
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    (folder / "arch.py").write_text(ARCH)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(108, 4)
    )
    torch.manual_seed(0)
    state = {key: torch.randn_like(value) for key, value in network.state_dict().items()}
    state["3.weight"] = state["3.weight"].half()
    told = {"lipaudit.preprocessing": '{"version": 1, "scale": "2", "input_shape": [1, 6, 6]}', "by": "us"}
    save_file(state, folder / "w.safetensors", metadata=told)
    return folder / "w.safetensors", f"{folder / 'arch.py'}:build", told


@pytest.mark.slow
def test_weights_keep_names_types_and_metadata(weights, tmp_path):
    path, arch, told = weights
    before = bound_of(path, arch=arch)
    done = repair_model(path, Wish(lipschitz=before / 4), ("safetensors", "onnx"), arch=arch, **QUICK)
    place = written(tmp_path, done.files["safetensors"], "out.safetensors")
    old, new = load_file(path), load_file(place)
    assert {k: (v.dtype, v.shape) for k, v in old.items()} == {k: (v.dtype, v.shape) for k, v in new.items()}
    assert {key for key in old if not torch.equal(old[key], new[key])} == {
        "0.weight",
        "0.bias",
        "3.weight",
        "3.bias",
    }
    with safe_open(place, "pt") as file:
        assert file.metadata() == told
    exported = written(tmp_path, done.files["onnx"])
    for bound in (bound_of(place, arch=arch), bound_of(exported)):
        assert 0.9 * before / 4 <= bound <= before / 4 * (1 + 1e-8)


@pytest.mark.parametrize(
    "limits", [{}, {"lipschitz": 1.0, "layer_norm": 1.0}, {"lipschitz": 0.0}, {"layer_norm": -1}]
)
def test_one_positive_limit_is_asked_for(limits):
    with pytest.raises(UsageError):
        Wish(**limits)

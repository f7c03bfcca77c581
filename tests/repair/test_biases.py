"""Fitted biases: they follow the smaller weights, change no bound, and touch nothing that is not theirs."""

import json

import numpy as np
import onnx
import pytest
import repair_models as models
import torch
from onnx import helper, numpy_helper
from safetensors.torch import load, save_file
from torch import nn

from lipaudit.cli import main
from lipaudit.errors import UsageError
from lipaudit.pipeline import audit
from lipaudit.repair.model_repair import repair_model
from lipaudit.repair.wish import Wish

QUICK = {"attack": False, "profile": "fast"}


def initializers(data):
    model = onnx.ModelProto.FromString(data)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def scores(held, x):
    """Of `write_relu`, by torch in float64."""
    t = {name: torch.tensor(value, dtype=torch.float64) for name, value in held.items()}
    x = (torch.from_numpy(x) - 0.1) / 0.3
    x = torch.relu(nn.functional.conv2d(x, t["conv"], t["conv_bias"], padding=1, stride=2)).flatten(1)
    x = torch.relu(x @ t["first"] + t["first_bias"])
    return (x @ t["second"].T + t["second_bias"]).numpy()


def write_relu(path, **other):
    """conv → relu → flatten → MatMul → Add → relu → Gemm."""
    nodes = [
        helper.make_node(
            "Conv", ["x", "conv", "conv_bias"], ["a"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2]
        ),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Flatten", ["b"], ["c"], name="flat"),
        helper.make_node("MatMul", ["c", "first"], ["d"], name="dense"),
        helper.make_node("Add", ["first_bias", "d"], ["e"], name="add"),
        helper.make_node("Relu", ["e"], ["f"], name="relu2"),
        helper.make_node("Gemm", ["f", "second", "second_bias"], ["y"], name="head", transB=1),
    ]
    held = {
        "conv": models.numbers(3, 1, 3, 3),
        "conv_bias": models.numbers(3, seed=1),
        "first": models.numbers(27, 8, seed=2, scale=0.5),
        "first_bias": models.numbers(8, seed=3),
        "second": models.numbers(4, 8, seed=4),
        "second_bias": models.numbers(4, seed=5),
    }
    return models.write_graph(path, nodes, {**held, **other}, shape=[1, models.SIDE, models.SIDE])


@pytest.fixture(scope="module")
def relu(tmp_path_factory):
    return write_relu(tmp_path_factory.mktemp("relu") / "net.onnx")


@pytest.fixture(scope="module")
def rescaled(relu):
    return repair_model(relu, Wish(layer_norm=0.2, how="rescaling"), **QUICK)


def test_a_rescaled_relu_network_is_a_scaled_copy(relu, rescaled):
    old, new = initializers(relu.read_bytes()), initializers(rescaled.files["onnx"])
    x = np.random.default_rng(9).normal(size=(200, 1, models.SIDE, models.SIDE))
    before, after = scores(old, x), scores(new, x)
    factor = (before * after).sum() / (before**2).sum()
    assert 0 < factor < 0.1
    assert np.allclose(after, factor * before, atol=1e-5 * np.abs(after).max())
    assert {row.bias for row in rescaled.repair.layers} == {"fitted"}
    assert rescaled.repair.biases.scale == pytest.approx(factor)
    assert "256 inputs of uniform noise" in rescaled.repair.notes[0]
    kept = {name: old[name] if "bias" in name else value for name, value in new.items()}
    assert (scores(kept, x).argmax(1) != before.argmax(1)).mean() > 0.05


def test_bounds_do_not_depend_on_biases(relu, rescaled, tmp_path):
    old, fitted = initializers(relu.read_bytes()), initializers(rescaled.files["onnx"])
    assert [name for name in old if not np.array_equal(old[name], fitted[name])] == list(old)
    kept = onnx.ModelProto.FromString(rescaled.files["onnx"])
    for tensor in kept.graph.initializer:
        if "bias" in tensor.name:
            tensor.CopyFrom(numpy_helper.from_array(old[tensor.name], tensor.name))
    onnx.save(kept, tmp_path / "kept.onnx")
    evidence = audit(tmp_path / "kept.onnx", **QUICK).evidence
    after = rescaled.after.evidence
    assert [layer.upper for layer in evidence.layers] == [layer.upper for layer in after.layers]
    assert evidence.global_.upper == after.global_.upper


def test_only_layers_that_were_named_get_another_bias(relu):
    done = repair_model(relu, Wish(layer_norm=0.4, layers=("dense",)), **QUICK)
    assert moved(relu, done) == {"first", "first_bias"}


def test_layers_behind_a_change_are_fitted_and_the_choice_is_checked(relu, tmp_path, capsys):
    with pytest.raises(UsageError, match="biases"):
        Wish(layer_norm=1.0, biases="some")
    words = ["clip", str(relu), "-o", str(tmp_path / "c.onnx"), "--no-attack", "--profile", "fast"]
    assert main([*words, "--layer-norm", "1", "--biases", "some"]) == 2
    assert "fit, keep" in capsys.readouterr().err
    assert main([*words, "--layer-norm", "9", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["layers"]
    told = {row["name"]: (row["action"], row["bias"]) for row in rows}
    assert told == {
        "conv": ("clipped", "fitted"),
        "dense": ("unchanged", "fitted"),
        "head": ("unchanged", "fitted"),
    }


def moved(path, done):
    old, new = initializers(path.read_bytes()), initializers(done.files["onnx"])
    assert old.keys() == new.keys()
    return {name for name in old if not np.array_equal(old[name], new[name])}


def dense(tmp_path, biases, act="Relu", **held):
    """Three dense layers of width 5 with those biases by name, "" for none."""
    nodes = []
    last = "x"
    for index, bias in enumerate(biases):
        given = [last, f"w{index}", *([bias] if bias else [])]
        nodes += [
            helper.make_node("Gemm", given, [f"a{index}"], name=f"fc{index}", transB=1),
            helper.make_node(act, [f"a{index}"], [f"b{index}"], name=f"act{index}"),
        ]
        last = f"b{index}"
    weights = {f"w{index}": models.numbers(5, 5, seed=index, scale=0.7) for index in range(len(biases))}
    return models.write_graph(tmp_path / "net.onnx", nodes[:-1], {**weights, **held})


def test_tied_biases_and_copies_are_left_alone(tmp_path):
    one, two, three = (models.numbers(5, seed=seed) for seed in (7, 8, 9))
    path = dense(tmp_path, ["e", "b", "b", "c", "d"], b=one, c=two, d=two.copy(), e=three)
    done = repair_model(path, Wish(layer_norm=0.3), **QUICK)
    assert moved(path, done) == {"w0", "w1", "w2", "w3", "w4", "e"}
    assert [row.bias for row in done.repair.layers] == ["fitted"] + ["kept"] * 4


def test_layers_without_a_bias_get_none(tmp_path):
    path = dense(tmp_path, ["", ""])
    done = repair_model(path, Wish(layer_norm=0.3), **QUICK)
    assert moved(path, done) == {"w0", "w1"}
    assert "no bias could be fitted" in done.repair.notes[0]


def test_means_stay_where_an_activation_has_a_place_of_its_own(tmp_path):
    path = dense(tmp_path, ["b", ""], "Tanh", b=models.numbers(5, seed=7))
    data = np.random.default_rng(3).normal(size=(64, 5)).astype(np.float32)
    np.savez(tmp_path / "s.npz", images=data, labels=np.arange(64) % 5)
    options = {"dataset": f"npz:{tmp_path / 's.npz'}", "mean": [0.1], "std": [0.3], "scale": 1}
    done = repair_model(path, Wish(layer_norm=0.3), **options, **QUICK)
    old, new = initializers(path.read_bytes()), initializers(done.files["onnx"])
    x = (data - 0.1) / 0.3
    before, after = (x @ held["w0"].T + held["b"] for held in (old, new))
    assert np.allclose(before.mean(0), after.mean(0), atol=1e-5)
    assert "64 samples of npz:s.npz, without their labels" in done.repair.notes[0]
    assert np.linalg.norm(new["w0"]) < 0.5 * np.linalg.norm(old["w0"])


ARCH = """
from torch import nn
def build():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(),
        nn.Flatten(), nn.Linear(108, 4), nn.Softmax(dim=1),
    )
"""


def test_batch_norm_takes_the_bias_and_types_stay(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(108, 4),
    ).eval()
    state = {
        key: torch.rand_like(value) + 0.3 if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    state["1.weight"][1] = 0.0  # a channel that only its bias fills
    state["4.weight"] -= 0.8
    state["4.bias"] = state["4.bias"].half()
    (tmp_path / "arch.py").write_text(ARCH)
    save_file(state, tmp_path / "w.safetensors")
    options = {"arch": f"{tmp_path / 'arch.py'}:build", "input_shape": (1, 6, 6)}
    done = repair_model(
        tmp_path / "w.safetensors",
        Wish(layer_norm=0.5, how="rescaling"),
        ("safetensors",),
        **options,
        **QUICK,
    )
    held = load(done.files["safetensors"])
    assert {key for key in state if not torch.equal(state[key], held[key])} == {
        "0.weight",
        "1.bias",
        "4.weight",
        "4.bias",
    }
    assert {key: value.dtype for key, value in held.items()} == {k: v.dtype for k, v in state.items()}
    x = torch.randn(100, 1, 6, 6)
    rows = []
    for tensors in (state, held):
        network.load_state_dict(tensors)
        rows.append(network(x).detach())
    factor = (rows[0] * rows[1]).sum() / (rows[0] ** 2).sum()
    assert 0 < factor < 0.5
    assert torch.allclose(rows[1], factor * rows[0], atol=2e-3 * float(rows[1].abs().max()))

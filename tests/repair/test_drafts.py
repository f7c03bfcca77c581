"""What is written holds the network that was meant, whatever was believed about its tensors."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import repair_models as models
import torch
from onnx import helper

from lipaudit.clock import Clock
from lipaudit.errors import ConversionMismatch, InputRefused
from lipaudit.repair import drafts
from lipaudit.repair.drafts import make_drafts
from lipaudit.repair.opened import open_model
from lipaudit.repair.sources import find_sources


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Two layers, the second matrix symmetric; the first has two biases, of which the last is taken."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["a"], name="one"),
        helper.make_node("Add", ["a", "c"], ["d"], name="add"),
        helper.make_node("MatMul", ["d", "s"], ["y"], name="two"),
    ]
    half = models.numbers(5, 5, seed=3)
    held = {
        "w": models.numbers(5, 5),
        "b": models.numbers(5),
        "s": half + half.T,
        "c": models.numbers(5, seed=1),
    }
    path = models.write_graph(tmp_path_factory.mktemp("drafts") / "net.onnx", nodes, held)
    return open_model(path, {"attack": False, "profile": "fast"}, Clock(None))


def drafted(monkeypatch, opened, sources, changed):
    monkeypatch.setattr(drafts, "audit", lambda *_, **__: None)
    return make_drafts(opened, sources, changed, ("onnx",), "net", lambda *_: None)


def test_only_what_was_planned_may_change(opened, monkeypatch):
    right = find_sources(opened, opened.subject.graph, biases=True)
    (one, two), (bias,) = right.layers, right.biases
    assert (one.key, two.key, bias.key) == ("w", "s", "c")
    held = opened.weights.tensors
    other = {key: held[key] * torch.linspace(0.1, 0.4, 5) for key in ("w", "s", "b", "c")}
    planned = {key: other[key] for key in ("w", "s", "c")}
    assert drafted(monkeypatch, opened, right, planned).files["onnx"]
    wrong = {
        "two": (replace(right, layers=[one, replace(two, flipped=not two.flipped)]), planned),
        "one": (replace(right, layers=[two]), planned),
        "add": (replace(right, biases=[]), planned),
        "one, add": (replace(right, biases=[replace(bias, key="b")]), {"b": other["b"]}),
    }
    for names, (sources, changed) in wrong.items():
        with pytest.raises(InputRefused, match=rf"meant: {names} (is|are) not as planned"):
            drafted(monkeypatch, opened, sources, changed)


def test_batch_norm_with_another_bias_is_as_planned(tmp_path, monkeypatch):
    opened = open_model(models.write_network(tmp_path / "net.onnx"), {}, Clock(None))
    sources = find_sources(opened, opened.subject.graph, biases=True)
    changed = {one.key: one.stored * 1.25 + 3 for one in (*sources.layers, *sources.biases)}
    assert "bn.bias" in changed
    assert drafted(monkeypatch, opened, sources, changed).files["onnx"]


@pytest.mark.parametrize("head", ["Sigmoid", "Identity"])
def test_equal_answers_of_one_score_are_those_of_the_model_as_given(tmp_path, head):
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w", "b"], ["z"], name="one"),
        helper.make_node(head, ["z"], ["y"], name="head"),
    ]
    data, side = models.write_samples(tmp_path / "s.npz", classes=2), models.SIDE
    weight = models.numbers(side**2, 1)
    images = np.load(tmp_path / "s.npz")["images"]
    bias = -np.median((images.reshape(-1, side**2) - 0.1) / 0.3 @ weight)
    graphs, above = [], []
    for name, shift in {"one": 0.0, "other": 2.0}.items():
        held = {"w": weight, "b": np.float32([bias + shift])}
        path = models.write_graph(tmp_path / f"{name}.onnx", nodes, held, shape=(1, side, side))
        graphs.append(open_model(path, {"dataset": data}, Clock(None)).subject)
        (told,) = onnxruntime.InferenceSession(path).run(None, {"x": np.float32((images - 0.1) / 0.3)})
        above.append(told[:, 0] > (0.5 if head == "Sigmoid" else 0.0))
    same = int((above[0] == above[1]).sum())
    assert 20 < same < len(images)
    assert drafts._difference(*graphs).same_answer == same


def test_a_draft_that_cannot_be_checked_is_blamed_on_its_numbers(opened, monkeypatch):
    def refused(*_):
        raise ConversionMismatch("net.onnx: they differ", hint="an operator is converted wrongly")

    sources = find_sources(opened, opened.subject.graph, biases=True)
    monkeypatch.setattr(drafts, "network_of", refused)
    with pytest.raises(ConversionMismatch, match="as written cannot be checked: net") as told:
        drafted(monkeypatch, opened, sources, {})
    assert "--biases keep" in told.value.hint
    assert "converted wrongly" not in told.value.hint

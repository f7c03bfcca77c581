"""Which layers are asked for: every linear layer, by its own name, or a refusal that says why."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import repair_models as models
from onnx import helper, numpy_helper

from lipaudit.analyze import Plan, analyze
from lipaudit.clock import Clock
from lipaudit.errors import Incomplete, Unreached, UsageError
from lipaudit.pipeline import audit
from lipaudit.repair.asked import linear_names
from lipaudit.repair.drafts import Drafts
from lipaudit.repair.model_repair import repair_model
from lipaudit.repair.network import Network
from lipaudit.repair.opened import open_model
from lipaudit.repair.record import _of_the_whole
from lipaudit.repair.structure import structured
from lipaudit.repair.wish import Wish
from lipaudit.spectrum.parts import linear_parts

QUICK = {"attack": False, "profile": "fast"}
PLAN = Plan.of((), "fast", 2**30)


def of_norm(rows, columns, norm, seed=0):
    weight = models.numbers(rows, columns, seed=seed, dtype=np.float64)
    return (weight / np.linalg.norm(weight, 2) * norm).astype(np.float32)


def perceptron(path, *between, **held):
    """Gemm (norm 1.5 / 0.3) → relu, and whatever else → Gemm (norm 0.9), from five numbers."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["a"], name="fc1", transB=1),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        *between,
        helper.make_node(
            "Gemm", [between[-1].output[0] if between else "b", "w2"], ["y"], name="fc2", transB=1
        ),
    ]
    tensors = {"w1": of_norm(6, 5, 1.5), "w2": of_norm(4, 6, 0.9, seed=1), **held}
    return models.write_graph(path, nodes, tensors)


def norms(report):
    return {layer.name: layer.upper.value for layer in report.evidence.layers}


@pytest.mark.slow
def test_dense_layers_with_a_relu_between_are_clipped(tmp_path):
    path = perceptron(tmp_path / "mlp.onnx")
    done = repair_model(path, Wish(layer_norm=0.5), **QUICK)
    assert {row.action for row in done.repair.layers} == {"clipped"}
    assert max(norms(done.after)[name] for name in ("fc1", "fc2")) <= 0.5
    again = tmp_path / "one.onnx"  # its bound is 1 by the sandwich rule, and it is none
    again.write_bytes(repair_model(path, Wish(lipschitz=1.0), **QUICK).files["onnx"])
    network = Network.of(open_model(again, {}, Clock(None)).subject.graph, PLAN)
    assert any(abs(claim.bound.value - 1) < 1e-3 for claim in network.bound.claims)
    assert not structured(network)


@pytest.mark.parametrize("pair", ["dense", "convolutions"])
def test_a_sandwich_is_told_by_its_normalisation(tmp_path, pair):
    both, _ = np.linalg.qr(models.numbers(11, 6, dtype=np.float64))
    psi = np.linspace(0.5, 2, 6)[:, None]
    first, last = np.sqrt(2) / psi * both[:5].T, (np.sqrt(2) * psi * both[5:].T).T
    size = (1, 5) if pair == "dense" else (1, 5, 1, 1)
    held = {"w1": first.astype(np.float32), "w2": last.astype(np.float32)}
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["a"], name="fc1", transB=1),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Gemm", ["b", "w2"], ["y"], name="fc2", transB=1),
    ]
    if pair != "dense":
        nodes[0] = helper.make_node("Conv", ["x", "w1"], ["a"], name="fc1")
        nodes[2] = helper.make_node("Conv", ["b", "w2"], ["y"], name="fc2")
        held = {name: value[:, :, None, None] for name, value in held.items()}
    path = models.write_graph(tmp_path / "s.onnx", nodes, held, shape=size[1:])
    options = {"mean": [0], "std": [1], "scale": 1}
    network = Network.of(open_model(path, options, Clock(None)).subject.graph, PLAN)
    assert {"fc1", "fc2"} <= structured(network).keys()
    with pytest.raises(Unreached, match="2 layers are left alone"):
        repair_model(path, Wish(layer_norm=0.5), **QUICK, **options)


def test_a_layer_that_cannot_be_changed_keeps_everything_from_being_written(tmp_path):
    path = perceptron(
        tmp_path / "scale.onnx",
        helper.make_node("Mul", ["b", "gain"], ["c"], name="mul"),
        helper.make_node("Tanh", ["c"], ["d"], name="tanh"),
        gain=np.full(1, 100, np.float32),
    )
    with pytest.raises(Unreached, match=r"mul \(≤ 100") as told:
        repair_model(path, Wish(layer_norm=1.0), **QUICK)
    assert "--layer" in told.value.hint
    assert "--lipschitz" in told.value.hint
    assert "--layer" not in narrowed_hint(path, Wish(layer_norm=1.0, layers=("fc*", "mul")))
    assert narrowed_hint(path, Wish(lipschitz=1.0, layers=("mul",))).startswith("mul: only weights")
    done = repair_model(path, Wish(layer_norm=200.0, layers=("mul",)), **QUICK)
    assert done.repair.verdict == "unchanged"
    assert done.repair.notes[0].startswith("nothing")


def narrowed_hint(path, wish):
    with pytest.raises(Unreached) as told:
        repair_model(path, wish, **QUICK)
    return told.value.hint


REPEATS = {
    "resize": ("Resize", ["", "factors"], {"mode": "nearest"}),
    "tile": ("Tile", ["times"], {}),
    "gather": ("Gather", ["twice"], {"axis": 1}),
    "add": ("Add", None, {}),
    "concat": ("Concat", None, {"axis": 1}),
}


def test_what_repeats_values_is_a_layer_that_is_judged(tmp_path):
    nodes, value = [helper.make_node("Conv", ["x", "w"], ["a"], name="conv")], "a"
    for name, (op, inputs, words) in REPEATS.items():
        read = f"before {name}"  # an activation between them: none is folded into another
        nodes.append(helper.make_node("Relu", [value], [read], name=f"relu {name}"))
        others = [read] if inputs is None else inputs
        value = "y" if name == "concat" else name
        nodes.append(helper.make_node(op, [read, *others], [value], name=name, **words))
    held = {"w": models.numbers(2, 1, 3, 3), "factors": np.array([1, 1, 2, 1], np.float32)}
    held |= {"times": np.array([1, 1, 1, 3], np.int64), "twice": np.array([0, 1, 1], np.int64)}
    path = models.write_graph(tmp_path / "net.onnx", nodes, held, shape=(1, 4, 4))
    with pytest.raises(Unreached, match="5 layers are left alone") as told:
        repair_model(path, Wish(layer_norm=1.0), **QUICK)
    norms = {"resize": "1.4143", "tile": "1.7321", "gather": "1.4143", "add": "2", "concat": "1.4143"}
    for name, norm in norms.items():
        assert f"{name} (≤ {norm})" in told.value.message


@pytest.mark.parametrize("op", ["AveragePool", "Resize", "BatchNormalization"])
def test_every_layer_with_a_spectrum_is_asked(tmp_path, op):
    held = {"w": models.numbers(2, 1, 3, 3), "s": np.array([1, 1, 2, 2], np.float32)}
    held |= {name: np.full(2, 5, np.float32) for name in ("g", "b", "m", "v")}
    words = {
        "AveragePool": (["b0"], {"kernel_shape": [2, 2]}),
        "Resize": (["b0", "", "s"], {"mode": "linear"}),
        "BatchNormalization": (["b0", "g", "b", "m", "v"], {}),
    }[op]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Relu", ["a"], ["b0"], name="relu"),
        helper.make_node(op, words[0], ["c"], name="other", **words[1]),
        helper.make_node("Relu", ["c"], ["y"], name="end"),
    ]
    path = models.write_graph(tmp_path / "net.onnx", nodes, held, shape=(1, 6, 6))
    graph = open_model(path, {}, Clock(None)).subject.graph
    listed = {p.name for p in linear_parts(graph, analyze(graph, PLAN), ())}
    assert listed <= set(linear_names(graph))
    assert len(linear_names(graph)) > 1
    with pytest.raises(Unreached, match="left alone"):
        repair_model(path, Wish(layer_norm=0.01), **QUICK)


def test_layers_that_are_one_map_together_are_told(tmp_path):
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["a"], name="one", transB=1),
        helper.make_node("Gemm", ["a", "w2"], ["b"], name="two", transB=1),
        helper.make_node("Mul", ["b", "b"], ["y"], name="square"),
    ]
    held = {"w1": np.eye(5, dtype=np.float32) * 9, "w2": np.diag(np.arange(5, 0, -1)).astype(np.float32)}
    done = repair_model(
        models.write_graph(tmp_path / "region.onnx", nodes, held), Wish(layer_norm=2), **QUICK
    )
    told = " ".join(done.repair.notes)
    assert "the 2 layers from one to two, which no activation parts, are one linear map of norm 4" in told
    assert "the network as a whole has no bound: square: a product" in told
    assert "batch norm" not in told
    assert done.repair.after.bracket.upper.status == "unbounded"
    with pytest.raises(UsageError, match="no linear layer") as refused:
        repair_model(tmp_path / "region.onnx", Wish(layer_norm=2, layers=("one … two",)), **QUICK)
    assert "region" in refused.value.hint


@pytest.mark.parametrize("idle", [(), ("one",)])
def test_regions_are_told_by_the_names_of_the_model(tmp_path, idle):
    def region(*names):
        nodes = [
            helper.make_node("Gemm", ["x", "w1"], ["a"], name=names[0], transB=1),
            helper.make_node("Gemm", ["a", "w2"], ["y"], name=names[1], transB=1),
        ]
        held = {"w1": np.eye(5, dtype=np.float32) * 2, "w2": np.diag(np.float32([2, 1, 1, 1, 1]))}
        return models.write_graph(tmp_path / f"{names[0]}.onnx", nodes, held)

    graph = open_model(region("one", "two"), {}, Clock(None)).subject.graph
    exported = region("two", "three")  # another name may be one of the model's
    names = linear_names(open_model(exported, {}, Clock(None)).subject.graph)
    drafts = Drafts({}, {}, audit(exported, **QUICK), names, None)
    work = SimpleNamespace(network=SimpleNamespace(graph=graph), asked=SimpleNamespace(idle=idle))
    told = list(_of_the_whole(Wish(layer_norm=2), work, drafts))
    assert len(told) == (0 if idle else 1)
    assert all("from one to two" in note for note in told)


def test_brackets_in_names_are_themselves(tmp_path):
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["a"], name="net[0]", transB=1),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Gemm", ["b", "w2"], ["y"], name="net0", transB=1),
    ]
    held = {"w1": of_norm(6, 5, 1.5), "w2": of_norm(4, 6, 0.9, seed=1)}
    path = models.write_graph(tmp_path / "names.onnx", nodes, held)
    done = repair_model(path, Wish(layer_norm=0.5, layers=("net[0]",)), **QUICK)
    assert {r.name: r.action for r in done.repair.layers} == {"net[0]": "clipped", "net0": "not asked for"}


@pytest.mark.parametrize(("kind", "transposed"), [("symmetric", 0), ("constant", 1)])
def test_a_symmetric_matrix_is_written_as_the_program_reads_it(tmp_path, transposed, kind):
    square = models.numbers(5, 5)
    weight = (
        square + square.T
        if kind == "symmetric"
        else np.full((7, 5) if transposed else (5, 7), 0.5, np.float32)
    )
    out = weight.shape[0] if transposed else weight.shape[1]
    gain = np.linspace(0.2, 3, out, dtype=np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], name="fc", transB=transposed),
        helper.make_node("Mul", ["a", "gain"], ["y"], name="mul"),
    ]
    path = models.write_graph(tmp_path / "sym.onnx", nodes, {"w": weight, "gain": gain})
    done = repair_model(path, Wish(layer_norm=2.0), **QUICK)
    model = onnx.ModelProto.FromString(done.files["onnx"])
    new = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "w")
    read = lambda w: gain[:, None] * (w if transposed else w.T) / 0.3  # noqa: E731
    u, s, vh = np.linalg.svd(read(weight).astype(np.float64), full_matrices=False)
    assert np.allclose(read(new), u * s.clip(max=2.0) @ vh, atol=1e-5)


@pytest.mark.slow
def test_a_bound_that_reports_round_above_the_limit_is_brought_below_it(tmp_path):
    path = perceptron(tmp_path / "mlp.onnx")
    graph = open_model(path, {}, Clock(None)).subject.graph
    exact = Network.of(graph, Plan.of((), "fast", audit.__kwdefaults__["memory"])).bound.total.value
    stated = audit(path, **QUICK).evidence.global_.upper.value
    assert exact < stated  # the limit lies between
    done = repair_model(path, Wish(lipschitz=exact), **QUICK)
    assert done.after.evidence.global_.upper.value <= exact
    assert {r.action for r in done.repair.layers} != {"unchanged"}
    kept = repair_model(path, Wish(lipschitz=str(Fraction(stated))), **QUICK)
    assert {r.action for r in kept.repair.layers} == {"unchanged"}


def test_a_network_without_a_bound_is_incomplete(tmp_path):
    path = perceptron(tmp_path / "sin.onnx", helper.make_node("Exp", ["b"], ["c"], name="exp"))
    with pytest.raises(Incomplete, match="no bound"):
        repair_model(path, Wish(lipschitz=1.0), **QUICK)


def test_nothing_may_change_says_why(tmp_path):
    held = {"w1": of_norm(5, 5, 1.5)}
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["a"], name="fc1", transB=1),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Gemm", ["b", "w1"], ["y"], name="fc2", transB=1),
    ]
    path = models.write_graph(tmp_path / "tied.onnx", nodes, held)
    with pytest.raises(Unreached, match="no layer") as told:
        repair_model(path, Wish(lipschitz=0.1), **QUICK)
    assert "used more than once" in told.value.hint

"""ONNX files from exporters and by hand, whole."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from lipaudit.errors import InputRefused, InputUnavailable, UsageError
from lipaudit.load import METADATA_KEY, load_model

SHARED = Path(__file__).parents[2].parent / "shared" / "models" / "onnx"
F32 = TensorProto.FLOAT


class Mixed(nn.Module):
    """Pads, splits, pools, norms and resizes, as people write them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular")
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 8, 3, 2, 1, 1)
        self.head = nn.Linear(8 * 16, 5)

    def forward(self, x):
        x = nn.functional.gelu(self.norm(self.conv(x)))
        x = nn.functional.avg_pool2d(self.up(x), 3, 4, 1, count_include_pad=False)
        a, b = x.chunk(2, 1)
        x = torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)
        x = nn.functional.pad(x, (1, 0, 0, 1), value=0.5)[..., :4, :4]
        return self.head(x.reshape(x.shape[0], -1)).log_softmax(-1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("dynamic", [True, False])
def test_torch_exports(dynamo, dynamic, tmp_path):
    torch.manual_seed(0)
    net, path = Mixed().eval(), tmp_path / "m.onnx"
    axes = {} if not dynamic else {"dynamic_axes": {"x": {0: "n"}}, "input_names": ["x"]}
    if dynamo and dynamic:
        axes = {"dynamic_shapes": ({0: torch.export.Dim("n")},)}
    example = torch.randn(2 if dynamic else 1, 3, 8, 8)
    with redirect_stdout(io.StringIO()):
        torch.onnx.export(net, (example,), str(path), dynamo=dynamo, **axes)
    loaded = load_model(path)
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(loaded.program.module()(x), net(x), rtol=1e-4, atol=1e-5)
    assert loaded.input_shape == (1, 3, 8, 8)
    assert len(loaded.files) == len(list(tmp_path.iterdir()))


@pytest.mark.filterwarnings("ignore")
def test_resnet18(tmp_path):
    net, path = torchvision.models.resnet18().eval(), tmp_path / "m.onnx"
    with redirect_stdout(io.StringIO()):
        torch.onnx.export(net, (torch.randn(1, 3, 64, 64),), str(path), dynamo=True)
    assert load_model(path).conversion["max_relative_difference"] < 1e-5


def model(nodes, shape=(1, 3), out=None, stored=(), **kwargs):
    inputs = [helper.make_tensor_value_info("x", kwargs.pop("kind", F32), shape)]
    outputs = [helper.make_tensor_value_info("y", kwargs.pop("out_kind", F32), shape if out is None else out)]
    graph = helper.make_graph(nodes, "g", inputs + list(kwargs.pop("extra", [])), outputs, list(stored))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save(proto, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def relu():
    return helper.make_node("Relu", ["x"], ["y"])


def tensor(value, name):
    return numpy_helper.from_array(np.asarray(value, dtype=np.float32), name)


def test_metadata_is_read_and_base_names_only(tmp_path):
    proto = model([relu()])
    helper.set_model_props(proto, {METADATA_KEY: '{"version": 1, "mean": [0.5]}'})
    loaded = load_model(save(proto, tmp_path))
    assert float(loaded.preprocessing.mean[0]) == 0.5
    assert [file.name for file in loaded.files] == ["m.onnx"]
    assert loaded.trust == "data only"


def test_weights_hash_ignores_the_graph(tmp_path):
    add = helper.make_node("Add", ["x", "w"], ["y"])
    one = load_model(save(model([add], stored=[tensor([1, 2, 3], "w")]), tmp_path)).weights_sha256
    sub = helper.make_node("Sub", ["x", "w"], ["y"])
    two = load_model(save(model([sub], stored=[tensor([1, 2, 3], "w")]), tmp_path)).weights_sha256
    three = load_model(save(model([add], stored=[tensor([1, 2, 4], "w")]), tmp_path)).weights_sha256
    assert one == two != three


def test_several_inputs_or_outputs_are_named(tmp_path):
    extra = [helper.make_tensor_value_info("mask", F32, (1, 3))]
    with pytest.raises(InputRefused, match=r"2 inputs \(x, mask\)"):
        load_model(save(model([helper.make_node("Add", ["x", "mask"], ["y"])], extra=extra), tmp_path))
    proto = model([relu()])
    proto.graph.node.append(helper.make_node("Abs", ["x"], ["z"]))
    proto.graph.output.append(helper.make_tensor_value_info("z", F32, (1, 3)))
    with pytest.raises(InputRefused, match=r"2 outputs \(y, z\)"):
        load_model(save(proto, tmp_path))


def test_initialisers_listed_as_inputs_are_no_inputs(tmp_path):
    extra = [helper.make_tensor_value_info("w", F32, (3,))]
    add = helper.make_node("Add", ["x", "w"], ["y"])
    load_model(save(model([add], extra=extra, stored=[tensor([1, 2, 3], "w")]), tmp_path))


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT64, TensorProto.FLOAT16])
def test_other_input_types_are_refused(kind, tmp_path):
    cast = helper.make_node("Cast", ["x"], ["y"], to=F32)
    with pytest.raises(InputRefused, match="not float32 or float64"):
        load_model(save(model([cast], kind=kind), tmp_path))


def test_labels_as_output_are_refused(tmp_path):
    argmax = helper.make_node("ArgMax", ["x"], ["y"], axis=1)
    with pytest.raises(InputRefused, match="'y' is int64"):
        load_model(save(model([argmax], out=(1, 1), out_kind=TensorProto.INT64), tmp_path))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_weights_are_named(bad, tmp_path):
    add = helper.make_node("Add", ["x", "w"], ["y"])
    with pytest.raises(InputRefused, match="'w' holds NaN or infinity"):
        load_model(save(model([add], stored=[tensor([1, bad, 3], "w")]), tmp_path))


def test_nan_output_is_refused(tmp_path):
    with pytest.raises(InputRefused, match="returns NaN or infinity on"):
        load_model(save(model([helper.make_node("Log", ["x"], ["y"])]), tmp_path))


def test_fixed_batch_is_set_to_one_when_samples_do_not_mix(tmp_path):
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("Relu", ["r"], ["y"])]
    shape = numpy_helper.from_array(np.array([4, 3]), "s")
    loaded = load_model(save(model(nodes, shape=(4, 3, 1), out=(4, 3), stored=[shape]), tmp_path))
    assert loaded.input_shape == (1, 3, 1)
    assert any("batch of 4" in note for note in loaded.notes)


def test_fixed_batch_that_mixes_samples_is_refused(tmp_path):
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0]),
        helper.make_node("Sub", ["x", "m"], ["y"]),
    ]
    path = save(model(nodes, shape=(4, 3)), tmp_path)
    with pytest.raises(InputRefused, match="fixed batch of 4 that cannot be set to 1"):
        load_model(path, default_shape=(3,))
    assert load_model(path).input_shape == (1, 4, 3)


def test_graph_without_batch_axis_is_one_sample(tmp_path):
    loaded = load_model(save(model([relu()], shape=(5,)), tmp_path))
    assert loaded.input_shape == (1, 5)
    assert loaded.program.module()(torch.ones(1, 5)).shape == (1, 5)


def test_open_axes_need_a_shape(tmp_path):
    path = save(model([relu()], shape=("n", 3, "h", "w")), tmp_path)
    with pytest.raises(UsageError, match="open axes") as caught:
        load_model(path)
    assert "--input-shape" in caught.value.hint
    assert load_model(path, input_shape=(3, 4, 5)).input_shape == (1, 3, 4, 5)
    with pytest.raises(UsageError, match="contradicts"):
        load_model(path, input_shape=(4, 4, 5))
    with pytest.raises(UsageError, match="ONNX graph"):
        load_model(path, arch="a.py:b")


def test_shape_chains_fold_and_live_shapes_do_not(tmp_path):
    chain = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Concat", ["n", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    stored = [numpy_helper.from_array(np.array([0]), "zero"), numpy_helper.from_array(np.array([-1]), "rest")]
    proto = model(chain, shape=("n", 3, 2), out=("n", 6), stored=stored)
    assert load_model(save(proto, tmp_path)).input_shape == (1, 3, 2)
    live = [
        helper.make_node("NonZero", ["x"], ["i"]),
        helper.make_node("Shape", ["i"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("ReduceSum", ["c"], ["r"], keepdims=0),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    with pytest.raises(InputRefused, match=r"ConstantOfShape.*depends on the input"):
        load_model(save(model(live), tmp_path))


def test_unsorted_nodes_are_sorted_and_cycles_refused(tmp_path):
    nodes = [helper.make_node("Relu", ["a"], ["y"]), helper.make_node("Neg", ["x"], ["a"])]
    load_model(save(model(nodes), tmp_path))
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Neg", ["a"], ["y"]),
    ]
    with pytest.raises(InputRefused):
        load_model(save(model(nodes), tmp_path))


def test_constant_output_random_numbers_and_foreign_operators(tmp_path):
    constant = helper.make_node("Constant", [], ["y"], value=tensor([[1, 2, 3]], "v"))
    with pytest.raises(InputRefused, match="does not depend on the input"):
        load_model(save(model([constant]), tmp_path))
    noise = [helper.make_node("RandomNormalLike", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
    with pytest.raises(InputRefused, match="random"):
        load_model(save(model(noise), tmp_path))
    proto = model([helper.make_node("Magic", ["x"], ["y"], domain="my")])
    proto.opset_import.append(helper.make_opsetid("my", 1))
    with pytest.raises(InputRefused, match=r"my\.Magic"):
        load_model(save(proto, tmp_path))
    huge = [
        helper.make_node("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("ReduceMax", ["c"], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "s")
    with pytest.raises(InputRefused, match="too large"):
        load_model(save(model(huge, stored=[shape]), tmp_path))


def external(tmp_path, location, data=bytes(12)):
    weight = TensorProto(name="w", data_type=F32, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "12")):
        weight.external_data.add(key=key, value=value)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").write_bytes(data)
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    return save(model([helper.make_node("Add", ["x", "w"], ["y"])], stored=[weight]), folder)


def test_external_data_in_the_own_folder(tmp_path):
    loaded = load_model(external(tmp_path, "w.bin", np.float32([1, 2, 3]).tobytes()))
    assert loaded.program.module()(torch.zeros(1, 3)).tolist() == [[1, 2, 3]]
    assert [file.name for file in loaded.files] == ["m.onnx", "w.bin"]


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", r"C:\x", ""])
def test_external_data_outside_is_refused(location, tmp_path):
    with pytest.raises(InputRefused, match="outside of the model's folder"):
        load_model(external(tmp_path, location))


def test_external_data_links_gaps_and_truncation(tmp_path):
    with pytest.raises(InputRefused, match="symbolic link"):
        load_model(external(tmp_path, "link.bin"))
    (tmp_path / "a").mkdir()
    with pytest.raises(InputUnavailable, match="not there"):
        load_model(external(tmp_path / "a", "none.bin"))
    (tmp_path / "b").mkdir()
    with pytest.raises(InputRefused, match="too short"):
        load_model(external(tmp_path / "b", "w.bin", bytes(8)))


def test_damaged_bytes_never_crash(tmp_path):
    whole = model(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        out=(1, 2),
        stored=[tensor(np.ones((3, 2)), "w"), tensor([0, 1], "b")],
    ).SerializeToString()
    random = np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            data[random.integers(len(data))] = random.integers(256)
        path = tmp_path / "m.onnx"
        path.write_bytes(bytes(data))
        try:
            load_model(path)
        except (InputRefused, UsageError, InputUnavailable):
            continue


CORPUS = {
    "ccoltong1215__simple-lenet5-torch-mnist__lenet.onnx": (1, 1, 28, 28),
    "stanleybak__nnenum__net.onnx": (1, 5),
    "MaB700__onnx_workflow_root__mnist_cnn.onnx": (1, 28, 28, 1),
    "stanleybak__vnncomp2021__resnet_2b.onnx": (1, 3, 32, 32),
    "ChristopherBrix__vnncomp2024_benchmarks__14_ieee_ml4acopf-linear-nonresidual.onnx": (1, 22),
    "dlshriver__dnnv-benchmarks__twin_ladder-5_inp-2_layers-10_width-10_margin.onnx": (1, 5),
}


@pytest.mark.skipif(not SHARED.exists(), reason="../shared is absent")
@pytest.mark.parametrize("name", CORPUS)
def test_published_graphs(name):
    assert load_model(SHARED / name).input_shape == CORPUS[name]


@pytest.mark.skipif(not SHARED.exists(), reason="../shared is absent")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("MaB700__onnx_workflow_root__xgboost_boston.onnx", "TreeEnsembleRegressor"),
        ("MaB700__onnx_workflow_root__mixed_quantized.onnx", "quantized"),
        ("ChristopherBrix__vnncomp2024_benchmarks__patch-1.onnx", "depends on the input"),
    ],
)
def test_published_graphs_that_are_refused(name, says):
    with pytest.raises(InputRefused, match=says):
        load_model(SHARED / name)


def test_node_names_go_with_the_program(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"], name="/features/act.1")
    loaded = load_model(save(model([node]), tmp_path))
    stack = next(n for n in loaded.program.graph.nodes if n.op == "call_function").meta["nn_module_stack"]
    assert loaded.titles[list(stack.values())[-1][0]] == "features/act.1"


def test_onnx2torch_registry_keeps_its_own(tmp_path):
    from onnx2torch.node_converters.registry import get_converter  # noqa: PLC0415

    before = get_converter("Relu", 14)
    load_model(save(model([relu()]), tmp_path))
    assert get_converter("Relu", 14) is before
    assert onnx.defs.onnx_opset_version() >= 17


def test_open_axes_take_the_shape_of_the_data(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert load_model(path, default_shape=(3, 5, 4)).input_shape == (1, 3, 5, 4)
    with pytest.raises(UsageError, match="open axes"):
        load_model(path, default_shape=(1, 5, 4))


def test_a_shape_in_the_metadata_that_contradicts_the_graph_is_the_files_fault(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, '{"version": 1, "input_shape": [5]}'
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputRefused, match=r"metadata.*contradicts"):
        load_model(tmp_path / "m.onnx")


def two_outputs():
    """A hidden layer that is an output, too."""
    nodes = [helper.make_node("Relu", ["x"], ["hidden"]), helper.make_node("Neg", ["hidden"], ["scores"])]
    built = model(nodes, shape=(1, 3))
    built.graph.output[0].name = "scores"
    built.graph.output.append(helper.make_tensor_value_info("hidden", F32, (1, 3)))
    return built


def test_one_of_several_outputs(tmp_path):
    path = save(two_outputs(), tmp_path)
    with pytest.raises(InputRefused, match=r"2 outputs \(scores, hidden\)") as caught:
        load_model(path)
    assert "--logits" in caught.value.hint
    loaded = load_model(path, logits="scores")
    assert any("'scores' is audited" in note for note in loaded.notes)
    x = torch.tensor([[1.0, -2.0, 3.0]])
    assert loaded.program.module()(x).tolist() == [[-1.0, 0.0, -3.0]]
    assert loaded.reference(x.numpy()).tolist() == [[-1.0, 0.0, -3.0]]
    assert load_model(path, logits="hidden").program.module()(x).tolist() == [[1.0, 0.0, 3.0]]
    with pytest.raises(UsageError, match="no such output") as caught:
        load_model(path, logits="other")
    assert "scores, hidden" in caught.value.hint

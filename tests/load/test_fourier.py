"""Layers that multiply frequencies, from files: weights with an architecture, and ONNX graphs."""

import numpy as np
import pytest
import torch
from fourier_layers import BUILT, Cayley, half_filter
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from small_graph import bound_of, op_names
from torch import nn

from lipaudit.errors import InputRefused
from lipaudit.load import load_model
from lipaudit.load.translate import translate
from lipaudit.load.verify import check_translation
from lipaudit.passes import simplify


class Frozen(nn.Module):
    """A Cayley layer with its matrices stored: torch's ONNX exporter does not take them computed."""

    def __init__(self, layer: Cayley) -> None:
        super().__init__()
        self.register_buffer("q", layer.matrices().detach().to(torch.complex64).contiguous())

    def forward(self, x):
        return half_filter(x, self.q)


def dense_norm(program, shape):
    """The largest singular value of the program's Jacobian, column by column in float64 inputs."""
    module = program.module()
    with torch.no_grad():
        zero = module(torch.zeros(1, *shape)).double().flatten()
        columns = [
            module(e.reshape(1, *shape)).double().flatten() - zero for e in torch.eye(int(np.prod(shape)))
        ]
    return float(torch.linalg.matrix_norm(torch.stack(columns, 1), 2))


def checked(loaded):
    graph = translate(loaded.program)
    check_translation(graph, loaded.program, "model")
    return simplify(graph)


@pytest.mark.parametrize("name", BUILT)
def test_layers_load_with_their_architecture(name, tmp_path):
    build, shape = BUILT[name]
    (tmp_path / "arch.py").write_text(
        f"from fourier_layers import BUILT\ndef make():\n    return BUILT[{name!r}][0]()\n"
    )
    save_file(build().state_dict(), tmp_path / "w.safetensors")
    loaded = load_model(tmp_path / "w.safetensors", arch=f"{tmp_path}/arch.py:make", input_shape=shape)
    graph = checked(loaded)
    bound = bound_of(graph).value
    assert "frequency_blocks" in op_names(graph)
    if name == "network":
        return
    norm = dense_norm(loaded.program, shape)
    assert norm * (1 - 1e-6) <= bound <= 1 + 1e-5
    if name.startswith("cayley"):
        assert bound == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("name", ["cayley", "cayley_odd", "lot", "lot_stored"])
def test_layers_load_as_exported_programs(name, stored, tmp_path):
    build, shape = BUILT[name]
    built = build().eval()
    if stored and name.startswith("cayley"):
        built = Frozen(built)
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(built, (torch.zeros(1, *shape),)), path)
    loaded = load_model(path)
    graph = checked(loaded)
    assert "frequency_blocks" in op_names(graph)
    bound = bound_of(graph).value
    norm = dense_norm(loaded.program, shape)
    assert norm * (1 - 1e-6) <= bound <= 1 + 1e-5
    if name.startswith("cayley"):
        assert bound == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("opset", [17, pytest.param(18, marks=pytest.mark.slow), 20])
@pytest.mark.parametrize("name", ["cayley", "cayley_odd", "lot_stored"])
def test_layers_load_from_onnx(name, opset, tmp_path):
    build, shape = BUILT[name]
    built = build()
    module = (Frozen(built) if name.startswith("cayley") else built).eval()
    path = tmp_path / "m.onnx"
    torch.onnx.export(
        module, (torch.zeros(1, *shape),), path, dynamo=True, opset_version=opset, verbose=False
    )
    loaded = load_model(path)
    graph = checked(loaded)
    assert op_names(graph).count("frequency_blocks") == 1
    bound = bound_of(graph).value
    norm = dense_norm(loaded.program, shape)
    assert norm * (1 - 1e-6) <= bound <= 1 + 1e-5
    if name.startswith("cayley"):
        assert bound == pytest.approx(norm, rel=1e-6)


def dft(shape, opset, length=None, axis=None, **attributes):
    """A graph of one DFT node."""
    names, stored = ["x"], []
    if length is not None:
        stored.append(numpy_helper.from_array(np.array(length, dtype=np.int64), "length"))
    if length is not None or (axis is not None and opset >= 20):
        names.append("length" if length is not None else "")
    if axis is not None and opset >= 20:
        stored.append(numpy_helper.from_array(np.array(axis, dtype=np.int64), "axis"))
        names.append("axis")
    elif axis is not None:
        attributes["axis"] = axis
    graph = helper.make_graph(
        [helper.make_node("DFT", names, ["y"], name="the/DFT", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize(
    ("parts", "inverse", "onesided", "length", "axis"),
    [
        (1, 0, 0, None, None), (1, 0, 0, 4, 1), (1, 1, 0, 9, -2), (1, 0, 1, None, 2), (1, 0, 1, 4, 1),
        (1, 0, 1, 8, -3), (2, 0, 0, None, 1), (2, 1, 0, 3, 2), (2, 1, 0, 7, None), (2, 1, 1, None, 1),
        (2, 1, 1, 8, 1), (2, 1, 1, 9, 1),
    ],
)  # fmt: skip
def test_dft_nodes_are_what_onnxruntime_computes(opset, parts, inverse, onesided, length, axis, tmp_path):
    path = tmp_path / "m.onnx"
    model = dft((1, 5, 6, parts), opset, length, axis, inverse=inverse, onesided=onesided)
    path.write_bytes(model.SerializeToString())
    loaded = load_model(path)  # raises ConversionMismatch if not
    assert bound_of(checked(loaded)).is_finite


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 5, 6, 2), {"inverse": 1, "onesided": 1, "length": 7, "axis": 1}),  # 5 frequencies are of 8 or 9
        ((1, 5, 6, 3), {"axis": 1}),
        ((1, 5, 6, 2), {"axis": 1, "onesided": 1}),
        ((1, 5, 6, 1), {"axis": 1, "length": 1 << 20}),
    ],
)
def test_dft_nodes_without_a_meaning_are_refused(shape, options, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(dft(shape, 17, **options).SerializeToString())
    with pytest.raises(InputRefused):
        load_model(path)


def test_a_spectrum_without_its_conjugate_is_bounded_as_it_is(tmp_path):
    """The half written back unconjugated is no inverse: the node counts for what it does."""
    onnx_model = dft((1, 6, 1), 17, axis=1, onesided=1)
    graph = onnx_model.graph
    graph.node[0].output[0] = "half"
    picks = numpy_helper.from_array(np.array([0, 1, 2, 3, 2, 1], dtype=np.int64), "picks")
    zero = numpy_helper.from_array(np.array([0], dtype=np.int64), "zero")
    graph.initializer.extend([picks, zero])
    graph.node.extend([
        helper.make_node("Gather", ["half", "picks"], ["whole"], axis=1),
        helper.make_node("DFT", ["whole"], ["pairs"], axis=1, inverse=1),
        helper.make_node("Gather", ["pairs", "zero"], ["y"], axis=2),
    ])  # fmt: skip
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_model.SerializeToString())
    loaded = load_model(path)
    norm = dense_norm(loaded.program, (6, 1))
    bound = bound_of(checked(loaded)).value
    assert norm * (1 - 1e-6) <= bound <= norm * 2**0.5 * (1 + 1e-6)


def test_checkpoints_hold_complex_numbers_of_double_precision(tmp_path):
    build, shape = BUILT["lot_stored"]
    module = build().double()
    module.q = module.matrices().detach()
    assert module.q.dtype == torch.complex128
    torch.save(module.state_dict(), tmp_path / "w.pt")
    text = "from fourier_layers import BUILT\ndef make():\n    return BUILT['lot_stored'][0]()\n"
    (tmp_path / "arch.py").write_text(text)
    loaded = load_model(tmp_path / "w.pt", arch=f"{tmp_path}/arch.py:make", input_shape=shape)
    assert bound_of(checked(loaded)).value == pytest.approx(1, abs=1e-11)


def test_programs_hold_complex_numbers_that_are_finite(tmp_path):
    build, shape = BUILT["lot_stored"]
    module = build().eval()
    module.q[0, 0, 0, 0] = complex(0.0, float("nan"))
    torch.export.save(torch.export.export(module, (torch.zeros(1, *shape),)), tmp_path / "m.pt2")
    with pytest.raises(InputRefused, match="NaN"):
        load_model(tmp_path / "m.pt2")


def test_complex_weights_that_are_not_finite_are_refused(tmp_path):
    build, shape = BUILT["lot_stored"]
    state = build().state_dict()
    state["q"][0, 0, 0, 0] = complex(0.0, float("nan"))
    (tmp_path / "arch.py").write_text(
        "from fourier_layers import BUILT\ndef make():\n    return BUILT['lot_stored'][0]()\n"
    )
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputRefused, match="NaN"):
        load_model(tmp_path / "w.safetensors", arch=f"{tmp_path}/arch.py:make", input_shape=shape)

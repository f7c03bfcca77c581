"""Seeded damage to model files: bytes, protobuf fields, opcodes of pickles, headers, external data."""

from __future__ import annotations

import io
import json
import pickletools
import warnings
import zipfile

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save as save_safetensors

EXTREMES = (
    0,
    -1,
    1,
    1,
    2,
    2,
    3,
    4,
    7,
    64,
    255,
    5000,
    65536,
    1 << 20,
    1 << 30,
    (1 << 31) - 1,
    1 << 31,
    1 << 40,
    1 << 62,
    -(1 << 63),
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e6, 1e30, 3e38, float("inf"), float("-inf"), float("nan"))
OPERATORS = (
    *("Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "ConstantOfShape"),
    *("Conv", "ConvTranspose", "CumSum", "DepthToSpace", "Div", "Einsum", "Elu", "Erf", "Exp", "Expand"),
    *("EyeLike", "Flatten", "GRU", "Gather", "GatherElements", "GatherND", "Gemm", "GlobalAveragePool"),
    *(
        "GridSample",
        "HardSigmoid",
        "Identity",
        "If",
        "InstanceNormalization",
        "LRN",
        "LSTM",
        "LayerNormalization",
    ),
    *(
        "LeakyRelu",
        "Loop",
        "LpNormalization",
        "MatMul",
        "Max",
        "MaxPool",
        "MaxUnpool",
        "Mean",
        "Min",
        "Mod",
        "Mul",
    ),
    *(
        "Neg",
        "NonZero",
        "OneHot",
        "PRelu",
        "Pad",
        "Pow",
        "Range",
        "Reciprocal",
        "ReduceMean",
        "ReduceSum",
        "Relu",
    ),
    *(
        "Reshape",
        "Resize",
        "Scan",
        "ScatterND",
        "Shape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "SpaceToDepth",
        "Split",
    ),
    *("Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "TopK", "Transpose", "Unsqueeze", "Upsample", "Where"),
)


def pick(random, items):
    items = list(items)
    return items[int(random.integers(len(items)))]


# Bytes


def flip(data, random):
    data = bytearray(data)
    for _ in range(int(random.integers(1, 9))):
        data[int(random.integers(len(data)))] = int(random.integers(256))
    return bytes(data)


def truncate(data, random):
    return data[: int(random.integers(len(data)))]


def splice(data, random):
    start, stop = sorted(int(i) for i in random.integers(0, len(data), 2))
    chunk = data[start : min(stop, start + 4096)]
    place = int(random.integers(len(data)))
    keep = place if random.random() < 0.5 else min(len(data), place + len(chunk))
    return data[:place] + chunk + data[keep:]


def head(data, random):
    """Damage where the structure is."""
    size = min(len(data), 512)
    return flip(data[:size], random) + data[size:]


BYTES = (flip, truncate, splice, head)


# Protobuf fields


def _nodes(model, random):
    return pick(random, model.graph.node)


def change_operator(model, random):
    _nodes(model, random).op_type = pick(random, OPERATORS)


def change_attribute(model, random):
    owners = [node for node in model.graph.node if node.attribute]
    attribute = pick(random, pick(random, owners).attribute)
    kind = random.integers(6)
    if attribute.ints and kind < 4:
        attribute.ints[int(random.integers(len(attribute.ints)))] = pick(random, EXTREMES)
    elif kind < 4:
        attribute.i, attribute.f = pick(random, EXTREMES), pick(random, FLOATS)
    elif kind == 4:
        attribute.ints.extend(pick(random, EXTREMES) for _ in range(int(random.integers(1, 4))))
    else:
        attribute.type = int(random.integers(1, 15))


def change_edge(model, random):
    owners = [node for node in model.graph.node if node.input]
    node = pick(random, owners)
    names = [
        "",
        "nowhere",
        *(o for n in model.graph.node for o in n.output),
        *(t.name for t in model.graph.initializer),
    ]
    node.input[int(random.integers(len(node.input)))] = pick(random, names)


def change_edges(model, random):
    node = _nodes(model, random)
    if random.random() < 0.5 and node.input:
        del node.input[-1]
    else:
        node.input.append(pick(random, [t.name for t in model.graph.initializer] or ["x"]))


def change_output(model, random):
    node = _nodes(model, random)
    if node.output:
        node.output[0] = pick(
            random, ["", node.output[0] + "!", *(o for n in model.graph.node for o in n.output)]
        )


def drop_or_double(model, random):
    index = int(random.integers(len(model.graph.node)))
    if random.random() < 0.5:
        del model.graph.node[index]
    else:
        model.graph.node.add().CopyFrom(model.graph.node[index])


def change_extent(model, random):
    tensor = pick(random, model.graph.initializer)
    if tensor.dims and random.random() < 0.8:
        tensor.dims[int(random.integers(len(tensor.dims)))] = pick(random, EXTREMES)
    else:
        tensor.dims.append(pick(random, EXTREMES))


def change_type(model, random):
    pick(random, model.graph.initializer).data_type = int(random.integers(0, 26))


def change_integers(model, random):
    """What reshapes, pads and slices read."""
    owners = [t for t in model.graph.initializer if t.data_type == TensorProto.INT64]
    tensor = pick(random, owners or model.graph.initializer)
    value = numpy_helper.to_array(tensor).copy()
    if value.size:
        value.reshape(-1)[int(random.integers(value.size))] = (
            pick(random, EXTREMES) if value.dtype.kind == "i" else pick(random, FLOATS)
        )
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def change_raw(model, random):
    tensor = pick(random, model.graph.initializer)
    tensor.raw_data = truncate(tensor.raw_data or bytes(8), random)


def change_input(model, random):
    shape = model.graph.input[0].type.tensor_type.shape
    if shape.dim and random.random() < 0.8:
        shape.dim[int(random.integers(len(shape.dim)))].dim_value = pick(random, EXTREMES)
    elif random.random() < 0.5:
        shape.dim.add().dim_value = pick(random, EXTREMES)
    else:
        model.graph.input[0].type.tensor_type.elem_type = int(random.integers(0, 26))


def change_version(model, random):
    if random.random() < 0.7:
        model.opset_import[0].version = pick(random, (*range(27), 1 << 40, -1))
    elif random.random() < 0.5:
        model.ir_version = pick(random, (0, 3, 8, 99, 1 << 40))
    else:
        _nodes(model, random).domain = pick(random, ("ai.onnx", "com.microsoft", "ai.onnx.ml", "x"))


FIELDS = (
    *(change_operator, change_attribute, change_attribute, change_edge, change_edges, change_output),
    *(drop_or_double, change_extent, change_type, change_integers, change_integers, change_raw, change_input),
    change_version,
)


def damage_onnx(data, random):
    """One change of a field, sometimes two; none where the field is not there."""
    model = onnx.ModelProto.FromString(data)
    for _ in range(1 if random.random() < 0.8 else 2):
        try:
            pick(random, FIELDS)(model, random)
        except (IndexError, ValueError, TypeError, OverflowError, onnx.checker.ValidationError):
            continue
    return model.SerializeToString()


# Checkpoints


def damage_pickle(pickled, random):
    """Change arguments and opcodes where they stand."""
    try:
        operations = [(opcode, place) for opcode, _, place in pickletools.genops(pickled)]
    except (ValueError, IndexError):
        return flip(pickled, random)
    data = bytearray(pickled)
    for _ in range(int(random.integers(1, 4))):
        opcode, place = pick(random, operations)
        kind = random.integers(3)
        if kind == 0:
            data[place] = ord(pick(random, pickletools.opcodes).code)
        elif kind == 1 and place + 1 < len(data):
            data[place + 1] = int(random.integers(256))
        else:
            data[place : place + 1] = opcode.code.encode("latin-1") * int(random.integers(0, 3))
    return bytes(data)


def damage_zip(data, random):
    """Damage one entry, with checksums that fit."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(buffer, "w") as new,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        chosen = pick(random, old.infolist()) if random.random() < 0.4 else None
        for entry in old.infolist():
            content = old.read(entry)
            if chosen is None and entry.filename.endswith("data.pkl"):
                content = damage_pickle(content, random)
            elif chosen is not None and entry.filename == chosen.filename and content:
                content = pick(random, BYTES)(content, random)
            new.writestr(entry.filename, content)
    return buffer.getvalue()


def damage_safetensors(data, random):
    """Change the header's fields and keep its length true."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    entry = pick(random, [value for key, value in header.items() if key != "__metadata__"])
    kind = random.integers(4)
    if kind == 0:
        entry["data_offsets"][int(random.integers(2))] = pick(random, EXTREMES)
    elif kind == 1:
        entry["shape"] = [pick(random, EXTREMES) for _ in range(int(random.integers(0, 5)))]
    elif kind == 2:
        entry["dtype"] = pick(random, ("F64", "F16", "BF16", "I8", "BOOL", "C64", "F8_E4M3", "X", 3, None))
    else:
        header[pick(random, ("__metadata__", "\ud800", "", "a" * 5000))] = pick(
            random, ([], {}, 3, {"a": 1}, entry)
        )
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


# Files to damage


def state():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    return dict(net.state_dict())


def saved(content, **kwargs):
    buffer = io.BytesIO()
    torch.save(content, buffer, **kwargs)
    return buffer.getvalue()


def checkpoints():
    """Name → (bytes, how to damage them)."""
    wrapped = {"state_dict": state(), "epoch": 3, "lr": 0.1, "tags": {"a", "b"}}
    half = {key: value.half() for key, value in state().items()}
    return {
        "zip": (saved(wrapped), damage_zip),
        "zip half": (saved(half), damage_zip),
        "legacy": (saved(wrapped, _use_new_zipfile_serialization=False), damage_pickle),
        "legacy half": (saved(half, _use_new_zipfile_serialization=False), damage_pickle),
        "safetensors": (save_safetensors(state()), damage_safetensors),
    }


def _float(name, *shape):
    return numpy_helper.from_array(
        np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32), name
    )


def _int(name, *values):
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def _graph(nodes, stored, shape, out, functions=()):
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, extent)
        for name, extent in (("x", shape), ("y", out))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid("own", 1)] if functions else [])]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=8, functions=list(functions)
    ).SerializeToString()


def image_graph():
    """Convolutions, pools, pads, resizes."""
    node = helper.make_node
    nodes = [
        node("Pad", ["x", "pads", "zero"], ["p"], mode="constant"),
        node("Conv", ["p", "k", "kb"], ["c"], kernel_shape=[3, 3], strides=[1, 1], dilations=[1, 1], group=1),
        node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"], epsilon=1e-5),
        node("LeakyRelu", ["n"], ["r"], alpha=0.1),
        node("MaxPool", ["r"], ["q"], kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0]),
        node("Resize", ["q", "", "scales"], ["u"], mode="nearest"),
        node("AveragePool", ["u"], ["a"], kernel_shape=[3, 3], strides=[2, 2], count_include_pad=1),
        node("ConvTranspose", ["a", "t"], ["d"], strides=[2, 2], output_padding=[1, 1]),
        node("GlobalAveragePool", ["d"], ["e"]),
        node("Flatten", ["e"], ["f"], axis=1),
        node("Gemm", ["f", "w", "wb"], ["y"], alpha=1.0, beta=1.0, transB=1),
    ]
    stored = [_int("pads", 0, 0, 1, 1, 0, 0, 1, 1), numpy_helper.from_array(np.float32(0), "zero")]
    stored += [_float("k", 4, 2, 3, 3), _float("kb", 4), _float("g", 4), _float("b", 4), _float("m", 4)]
    stored += [numpy_helper.from_array(np.ones(4, np.float32), "v"), _float("t", 4, 3, 3, 3)]
    stored += [
        numpy_helper.from_array(np.float32([1, 1, 2, 2]), "scales"),
        _float("w", 5, 3),
        _float("wb", 5),
    ]
    return _graph(nodes, stored, (1, 2, 8, 8), (1, 5))


def shape_graph():
    """Shapes computed, sliced, gathered, tiled, expanded, split, concatenated."""
    node = helper.make_node
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Concat", ["n", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        node("Slice", ["t", "starts", "ends", "axes", "steps"], ["l"]),
        node("Split", ["l", "parts"], ["a", "b"], axis=2),
        node("Max", ["a", "b"], ["hi"]),
        node("Clip", ["b", "low", "high"], ["lo"]),
        node("Concat", ["hi", "lo"], ["c"], axis=2),
        node("Tile", ["c", "repeats"], ["d"]),
        node("Expand", ["d", "wide"], ["e"]),
        node("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0),
        node("Range", ["r0", "r1", "r2"], ["steps4"]),
        node("Cast", ["steps4"], ["f4"], to=TensorProto.FLOAT),
        node(
            "ConstantOfShape",
            ["four"],
            ["ones"],
            value=helper.make_tensor("o", TensorProto.FLOAT, [1], [0.5]),
        ),
        node("Mul", ["f4", "ones"], ["w4"]),
        node("Mul", ["m", "w4"], ["y"]),
    ]
    stored = [_int("zero", 0), _int("rest", 3, 4), _int("starts", 0), _int("ends", 4), _int("axes", 1)]
    stored += [_int("steps", 2), _int("parts", 1, 2), _int("repeats", 1, 1, 1), _int("wide", 1, 2, 3)]
    scalars = {"r0": 0, "r1": 3, "r2": 1}
    stored += [numpy_helper.from_array(np.int64(value), name) for name, value in scalars.items()]
    stored += [numpy_helper.from_array(np.float32(v), name) for name, v in (("low", -1), ("high", 1))]
    stored += [_int("four", 3)]
    return _graph(nodes, stored, (1, 12), (1, 3))


def branch_graph():
    """Integers, comparisons, an If, a function of its own, residual sums."""
    node = helper.make_node
    yes, no = (
        helper.make_graph(
            [node(op, ["h"], [f"{op}_out"])],
            op,
            [],
            [helper.make_tensor_value_info(f"{op}_out", TensorProto.FLOAT, None)],
        )
        for op in ("Relu", "Tanh")
    )
    function = helper.make_function(
        "own", "Twice", ["a"], ["z"], [node("Add", ["a", "a"], ["z"])], [helper.make_opsetid("", 17)]
    )
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("If", ["flag"], ["i"], then_branch=yes, else_branch=no),
        node("Twice", ["i"], ["j"], domain="own"),
        node("Cast", ["j"], ["whole"], to=TensorProto.INT64),
        node("Div", ["whole", "three"], ["third"]),
        node("Cast", ["third"], ["back"], to=TensorProto.FLOAT),
        node("Greater", ["j", "back"], ["more"]),
        node("Where", ["more", "j", "back"], ["k"]),
        node("OneHot", ["index", "depth", "values"], ["hot"], axis=-1),
        node("Softmax", ["k"], ["soft"], axis=-1),
        node("Mul", ["soft", "hot"], ["p"]),
        node("Add", ["p", "j"], ["y"]),
    ]
    stored = [
        _float("w", 4, 4),
        numpy_helper.from_array(np.array(True), "flag"),
        _int("three", 3),
        _int("index", 2),
    ]
    stored += [
        numpy_helper.from_array(np.int64(4), "depth"),
        numpy_helper.from_array(np.float32([0, 1]), "values"),
    ]
    return _graph(nodes, stored, (1, 4), (1, 4), [function])


def graphs():
    return {"image": image_graph(), "shape": shape_graph(), "branch": branch_graph()}


def external_pair():
    """A graph with its weights in a file called w.bin, and that file."""
    model = onnx.ModelProto.FromString(image_graph())
    data = b""
    for tensor in model.graph.initializer:
        raw = numpy_helper.to_array(tensor).tobytes()
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "w.bin"), ("offset", len(data)), ("length", len(raw))):
            tensor.external_data.add(key=key, value=str(value))
        data += raw
    return model.SerializeToString(), data


LOCATIONS = (
    "",
    ".",
    "/etc/passwd",
    "../w.bin",
    "w.bin/",
    "a/w.bin",
    "w\0.bin",
    "\\w.bin",
    "/dev/zero",
    "é" * 300,
)


def damage_external(pair, random):
    data, weights = pair
    kind = random.integers(3)
    if kind == 0:
        return damage_onnx(data, random), weights
    if kind == 1:
        return data, pick(random, BYTES)(weights, random)
    model = onnx.ModelProto.FromString(data)
    entry = pick(random, pick(random, model.graph.initializer).external_data)
    entry.value = pick(
        random, LOCATIONS if entry.key == "location" else (*map(str, EXTREMES), "x", "1_0", "", "٣")
    )
    return model.SerializeToString(), weights

"""Names of a file never become code: not a node's, not a value's, not a tensor's."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from lipaudit.cli import main
from lipaudit.errors import InputRefused, UnsafeInput
from lipaudit.load import load_model
from lipaudit.load.convert import convert
from lipaudit.load.export import export_module
from lipaudit.load.labels import check_labels, check_module, node_titles, titled
from lipaudit.load.translate import translate

WIDTH = 3
PLAIN = ("first", "act", "einsum", "last")
VALUES = ("x", "a", "b", "c", "y", "w", "v")


def model(names=PLAIN, values=VALUES):
    """Three matrices, one as an einsum, which onnx2torch converts itself, and a rectifier."""
    x, a, b, c, y, w, v = values
    weight = np.eye(WIDTH, dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", [x, w], [a], name=names[0]),
            helper.make_node("Relu", [a], [b], name=names[1]),
            helper.make_node("Einsum", [b, v], [c], name=names[2], equation="bi,ij->bj"),
            helper.make_node("MatMul", [c, w], [y], name=names[3]),
        ],
        "g",
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["n", WIDTH])],
        [numpy_helper.from_array(weight, w), numpy_helper.from_array(2 * weight, v)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entry = made.metadata_props.add()
    entry.key, entry.value = "lipaudit.preprocessing", json.dumps({"version": 1, "scale": "1"})
    return made


def write(made, path):
    path.write_bytes(made.SerializeToString())
    return path


def hidden(path):
    """Code that makes the file `path`, in characters that survive as they are."""
    code = f"__import__('pathlib').Path({str(path)!r}).touch()"
    return "".join(f"\\x{ord(character):02x}" for character in code)


WRAPPED = {
    "in the text": 'a"+str(exec("{}"))+"',
    "behind the text": 'a"if exec("{}") else"onnx/a',
    "behind a bracket": 'a"), exec("{}"), ("',
    "on a line of its own": 'a")\n    exec("{}")\n    ("',
    "at the front": '", exec("{}"), "',
}


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("wrapped", WRAPPED)
def test_a_node_name_is_not_run(wrapped, place, canary):
    names = list(PLAIN)
    names[place] = WRAPPED[wrapped].format(hidden(canary))
    network = convert(model(names), (1, WIDTH), 1, "m").network
    export_module(network, torch.zeros(1, WIDTH), "m").module()(torch.ones(1, WIDTH))
    assert not canary.exists()


@pytest.mark.parametrize("wrapped", list(WRAPPED)[:2])
def test_commands_do_not_run_names_and_report_them(wrapped, canary, tmp_path, capfd):
    name = WRAPPED[wrapped].format(hidden(canary))
    hostile = write(model((name, *PLAIN[1:])), tmp_path / "hostile.onnx")
    plain = write(model(), tmp_path / "plain.onnx")
    report, page = tmp_path / "r.json", tmp_path / "r.html"
    assert main(["audit", str(hostile), "-o", f"json={report}", "-o", f"html={page}", "--no-policy"]) == 0
    assert main(["verify", str(report), "--model", str(hostile)]) == 0
    assert main(["diff-model", str(plain), str(hostile)]) == 0
    assert not canary.exists()
    layers = [layer["name"] for layer in json.loads(report.read_text())["evidence"]["layers"]]
    assert name in layers
    assert PLAIN[3] in layers
    capfd.readouterr()


ODD = {
    "quotes": ('"', "'", '"""', "'''"),
    "backslashes": ("\\", "\\\\", "a\\", '\\"'),
    "line breaks": ("a\nb", "a\r\nb", "\u2028", "\x0b"),
    "braces": ("{", "}", "{0}", "{self}"),
    "percents": ("%s", "%", "%(a)s", "%%"),
    "brackets and comments": (")", "#", "a # b", "(("),
    "unicode": ("größe", "ﬁ", "层", "a\u202eb"),
    "long": ("a" * 100_000, "b" * 3000, "é" * 3000, '"' * 3000),
    "keywords": ("class", "None", "lambda", "self"),
    "python": ("__class__", "__init__", "forward", "training"),
    "numbers": ("0", "1", "-1", "1e9"),
    "ours": ("n3", "onnx/n0", "n0", "initializers"),
    "theirs": ("input_1", "onnx_initializer_0", "torch", "getattr"),
    "dots and slashes": ("a.b", "a/c", "/d/", "e.f/g"),
    "spaces": (" ", "a b", "\t", "\u00a0"),
}


def graph_names(made, tmp_path):
    loaded = load_model(write(made, tmp_path / "m.onnx"))
    graph = translate(loaded.program, loaded.titles)
    assert graph.run(torch.ones(1, WIDTH, dtype=torch.float64)).flatten().tolist() == [2.0] * WIDTH
    return [node.name for node in graph]


@pytest.mark.parametrize("kind", ODD)
def test_odd_names_reach_the_report_as_they_are(kind, tmp_path):
    found = graph_names(model(ODD[kind]), tmp_path)
    assert found == [name.strip("/") for name in ODD[kind]]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("a.b", "a/b", "", "/a/b/"), ("a.b", "a/b", "Einsum", "/a/b/")),
        (("node_fc", "fc", "node_x", "/x"), ("node_fc", "fc", "node_x", "/x")),
        (("node_fc", "relu", "/conv/", "node_x"), ("fc", "relu", "conv", "x")),
        (("node_fc", "relu", "/conv/", "node_"), ("node_fc", "relu", "/conv/", "node_")),
        (("", "", "Relu", "MatMul"), ("MatMul_1", "Relu_1", "Relu", "MatMul")),
        (("", "MatMul", "", "MatMul_1"), ("MatMul_2", "MatMul", "Einsum", "MatMul_1")),
        (("/", "a", "//", "MatMul"), ("MatMul_1", "a", "Einsum", "MatMul")),
    ],
)
def test_a_name_of_the_file_stays_its_nodes(names, shown, tmp_path):
    """What we make up gives way, wherever the node stands."""
    assert graph_names(model(names), tmp_path) == list(shown)


TITLE = st.text("a/_node.MtulR1", max_size=6)


@given(st.lists(st.tuples(TITLE, st.sampled_from(["MatMul", "Relu", "a"])), max_size=7))
@example([("MatMul_1", "a"), ("", "MatMul"), ("MatMul", "a"), ("MatMul", "a")])
def test_titles_are_different_and_no_title_is_another_nodes_name(nodes):
    shown = node_titles(nodes)
    assert len(set(shown)) == len(nodes)
    once = {name for name, _ in nodes if [n for n, _ in nodes].count(name) == 1}
    for title, (name, _) in zip(shown, nodes, strict=True):
        assert title == name or title not in once


class Calls(nn.Module):
    """A function where the exporter's name for it is a module's, and a module that is called twice."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(WIDTH))
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return self.linear(self.linear(nn.functional.linear(x, self.weight)).relu())


def test_a_call_outside_of_modules_does_not_take_a_modules_name():
    graph = translate(export_module(Calls().eval(), torch.zeros(1, WIDTH), "m"))
    assert [node.name for node in graph] == ["linear'", "linear", "relu", "linear:linear_2"]


class Directly(nn.Module):
    """Modules whose weights are used without calling them."""

    def __init__(self):
        super().__init__()
        self.first, self.inner = nn.Linear(WIDTH, WIDTH), nn.Sequential(nn.Linear(WIDTH, WIDTH))

    def forward(self, x):
        return self.first.forward(x) @ self.inner[0].weight.T.clone()


def test_a_function_is_told_by_the_module_whose_weights_it_takes():
    graph = translate(export_module(Directly().eval(), torch.zeros(1, WIDTH), "m"))
    assert [node.name.partition(":")[0] for node in graph] == ["first", "inner.0"]


class Oddly(nn.Module):
    """Modules called as few people call them."""

    def __init__(self, *names):
        super().__init__()
        self.parts = nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in names})

    def forward(self, x):
        for part in self.parts.values():
            x = part(x).relu()
        return self.parts[next(iter(self.parts))](x)


def saved(network, path):
    torch.export.save(torch.export.export(network.eval(), (torch.zeros(1, WIDTH),)), path)
    loaded = load_model(path)
    return [node.name for node in translate(loaded.program, loaded.titles) if node.op.name == "linear"]


@pytest.mark.parametrize(
    "names",
    [
        ("a", "conv-1"),
        ("b@v2", "b"),
        ("b@1", "b"),
        ("größe", "層"),
        ("stored_0", "titles", "_kind"),
        ("1", "site_0"),
    ],
)
def test_a_saved_program_keeps_the_names_of_modules(names, tmp_path):
    found = saved(Oddly(*names), tmp_path / "m.pt2")
    assert found[:-1] == [f"parts.{name}" for name in names]
    assert found[-1].startswith(f"parts.{names[0]}:linear")


class Act(nn.Module):
    """Modules without parameters that are called like second calls."""

    def __init__(self):
        super().__init__()
        self.relu, self.fc = nn.ReLU(), nn.Linear(WIDTH, WIDTH)
        self.add_module("act@1", nn.Tanh())
        self.add_module("relu@2", nn.Sigmoid())

    def forward(self, x):
        x = self.relu(getattr(self, "act@1")(x))
        return getattr(self, "relu@2")(self.fc(self.relu(self.fc(x))))


def test_a_number_behind_a_name_is_part_of_it(tmp_path):
    torch.export.save(torch.export.export(Act().eval(), (torch.zeros(1, WIDTH),)), tmp_path / "m.pt2")
    loaded = load_model(tmp_path / "m.pt2")
    found = [node.name for node in translate(loaded.program, loaded.titles)]
    assert found == ["act@1", "relu", "fc", "relu:relu_1", "fc:linear_1", "relu@2"]


@pytest.mark.parametrize("names", [("1,head", "head"), ("1;head", "head")])
def test_names_that_the_format_cannot_tell_are_refused(names, tmp_path):
    with pytest.raises(InputRefused, match="comma or a semicolon"):
        saved(Oddly(*names), tmp_path / "m.pt2")


CODE = convert(model(), (1, WIDTH), 1, "m").network.code
TEXT = st.text(max_size=12) | st.text("\"'\\{}%#()\n.,/ anv01_", max_size=12)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(TEXT, min_size=4, max_size=4), st.lists(TEXT.filter(bool), min_size=7, max_size=7, unique=True)
)
@example(list(PLAIN), ["onnx/n0", "n2", "onnx_initializer_0", "v0", "v1", "input_1", "initializers"])
@example(['"', "\\", "\n", "'"], ['"', "\\", "\n", "'", "{", "%", "\u2028"])
def test_the_code_does_not_depend_on_names(names, values):
    try:
        converted = convert(model(names, values), (1, WIDTH), 1, "m")
    except InputRefused:
        return  # by onnxruntime, whose names hold no zero byte, for example: nothing was wired
    assert converted.network.code == CODE
    assert converted.network(torch.ones(1, WIDTH)).tolist() == [[2.0] * WIDTH]


def archive(rename):
    """A saved program whose parameters the function `rename` names anew, wherever they stand."""
    buffer = io.BytesIO()
    network = nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.ReLU()).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(1, WIDTH),)), buffer)
    changed = io.BytesIO()
    with zipfile.ZipFile(buffer) as opened, zipfile.ZipFile(changed, "w") as made:
        for entry in opened.namelist():
            content = opened.read(entry)
            if entry.endswith(".json"):
                content = json.dumps(_renamed(json.loads(content), rename)).encode()
            made.writestr(entry, content)
    return changed.getvalue()


def _renamed(tree, rename):
    if isinstance(tree, dict):
        return {_renamed(key, rename): _renamed(value, rename) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_renamed(value, rename) for value in tree]
    return rename(tree) if tree in ("0.weight", "p_0_weight", "relu") else tree


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_a_saved_programs_names_are_not_run(wrapped, canary, tmp_path):
    name = WRAPPED[wrapped].format(hidden(canary))
    path = tmp_path / "m.pt2"
    path.write_bytes(archive(lambda old: f"{old}{name}"))
    loaded = load_model(path)
    loaded.program.module()(torch.ones(1, WIDTH))
    assert not canary.exists()
    assert list(loaded.titles.values()) == [f"0.weight{name}", "0", "1"]
    assert [node.name for node in translate(loaded.program, loaded.titles)] == ["0", "1"]


def test_only_names_of_ours_are_code(tmp_path):
    path = tmp_path / "m.pt2"
    path.write_bytes(archive(lambda old: old))
    assert load_model(path).titles == {"stored_0": "0.weight", "site_0": "0", "site_1": "1"}


@pytest.mark.parametrize("name", ["", "a b", "a.b", 'a"', "a\\", "a\n", "ß", "a\x00", "onnx/n0"])
def test_labels_are_letters_digits_and_underscores(name):
    check_labels(["n0", "V_9"], "m")
    with pytest.raises(UnsafeInput, match="would become part of Python code"):
        check_labels(["n0", name], "m")


@pytest.mark.parametrize("name", ['a"', "a\\", "a\nb", "a\rb", "\x00", "\u2028", "\ud800"])
@pytest.mark.parametrize("kind", ["module", "parameter", "buffer"])
def test_modules_with_names_that_end_a_text_are_not_exported(name, kind):
    inner, outer = nn.Module(), nn.Module()
    outer.add_module("3x3 größe-1", inner)
    check_module(outer, "m")
    if kind == "module":
        inner.add_module(name, nn.ReLU())
    elif kind == "parameter":
        inner.register_parameter(name, nn.Parameter(torch.zeros(1)))
    else:
        inner.register_buffer(name, torch.zeros(1))
    with pytest.raises(UnsafeInput, match="would become part of Python code"):
        check_module(outer, "m")
    with pytest.raises(UnsafeInput):
        export_module(outer, torch.zeros(1), "m")


def test_the_second_lock_closes_where_the_first_is_open(canary, monkeypatch):
    """Were a file's name to reach the wiring after all, it would be refused there."""
    name = WRAPPED["in the text"].format(hidden(canary))
    monkeypatch.setattr("lipaudit.load.convert._label", lambda index: f"{name}{index}")
    with pytest.raises(UnsafeInput):
        convert(model(), (1, WIDTH), 1, "m")
    assert not canary.exists()


def test_titles_replace_whole_parts_of_a_path():
    titles = {"onnx/n1": "onnx/conv", "n1": "einsum"}
    assert titled("network.onnx/n1.weight", titles) == "network.onnx/conv.weight"
    assert titled("n1", titles) == "einsum"
    assert titled("n12.n1x", titles) == "n12.n1x"

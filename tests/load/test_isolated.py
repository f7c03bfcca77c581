"""The reading process: what it may take, how it ends, and that nothing of it is left."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save as save_safetensors

from lipaudit.errors import InputRefused, InputUnavailable, LipauditError, UsageError
from lipaudit.load import check_file, isolated, load_model
from lipaudit.load.isolated import Limits, read_apart
from lipaudit.load.reading import Request, read
from lipaudit.load.sniff import Kind

STARTED = "import os, sys; os.pwrite(int(sys.argv[2]), b'0' * 20, 0); "
REQUEST = Request(name="m")
SAMPLE = Path(__file__).parents[2] / "sample_models" / "mnist_plain" / "model.onnx"
INSIDE = "import os, sys, time, signal; fill = lambda: [bytes(range(256)) * 4096 for _ in range(10**6)]; "


def graph(nodes, stored=(), shape=(1, 4), functions=()):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made = helper.make_graph(nodes, "g", ends[:1], ends[1:], list(stored))
    return helper.make_model(
        made, opset_imports=opsets, ir_version=8, functions=functions
    ).SerializeToString()


def integers(name, *values):
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def run_instead(monkeypatch, code):
    """The child runs `code` once it is ready to read."""
    monkeypatch.setattr(isolated, "_START", STARTED + INSIDE + code)


def test_it_reads_what_is_read_here():
    data = SAMPLE.read_bytes()
    assert read_apart(data, REQUEST) == read(data, REQUEST)
    assert read_apart(save_safetensors({"w": np.ones(3)}), REQUEST).kind is Kind.SAFETENSORS


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGFPE)", "SIGFPE"),
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "out of memory"),
        ("os._exit(3)", r"code 3"),
        ("os._exit(0)", "without an answer"),
        ("os.pwrite(int(sys.argv[2]), b'0' * 40, 0); os._exit(0)", "without an answer"),
        ("fill()", "300 MiB of memory"),
        ("time.sleep(60)", r"takes more than 1 s"),
    ],
)
def test_bad_ends_are_refusals(code, says, monkeypatch):
    run_instead(monkeypatch, code)
    limits = Limits(memory=300 << 20, seconds=0.1, patience=10.0)
    started = time.monotonic()
    with pytest.raises(InputRefused, match=says) as caught:
        read_apart(b"x", REQUEST, limits)
    assert "m is refused: reading it" in caught.value.message
    assert time.monotonic() - started < 30


def test_processor_time_is_limited():
    # Two matrices of 40000 nodes in the wrong order take a minute to sort.
    nodes = [helper.make_node("Relu", [f"n{i}"], [f"n{i + 1}"]) for i in range(18_000)][::-1]
    data = graph(
        [*nodes, helper.make_node("Relu", ["x"], ["n0"]), helper.make_node("Relu", ["n18000"], ["y"])]
    )
    with pytest.raises(InputRefused, match="too much processor time"):
        read_apart(data, REQUEST, Limits(seconds=1.0))


def test_a_child_that_cannot_start_is_no_fault_of_the_file(monkeypatch):
    monkeypatch.setattr(isolated, "_START", "import no_such_module_here")
    with pytest.raises(LipauditError, match="no_such_module_here") as caught:
        read_apart(b"x", REQUEST)
    assert type(caught.value) is LipauditError


def test_the_errors_of_the_child_are_the_errors_of_the_caller(tmp_path):
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    with pytest.raises(UsageError, match="open axes") as caught:
        read_apart(graph(relu, shape=("n", 3, "h")), REQUEST)
    assert "--input-shape" in caught.value.hint
    with pytest.raises(InputRefused, match="m is empty"):
        read_apart(b"", REQUEST)
    weight = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="none.bin")
    data = graph([helper.make_node("Add", ["x", "w"], ["y"])], [weight])
    with pytest.raises(InputUnavailable, match="not there"):
        read_apart(data, Request(name="m", folder=str(tmp_path)))


def test_external_data_are_hashed_as_read(tmp_path):
    weight = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="w.bin")
    content = np.float32([1, 2, 3, 4]).tobytes()
    (tmp_path / "w.bin").write_bytes(content)
    data = graph([helper.make_node("Add", ["x", "w"], ["y"])], [weight])
    (file,) = read_apart(data, Request(name="m", folder=str(tmp_path))).files
    assert (file.name, file.bytes, file.sha256) == ("w.bin", 16, hashlib.sha256(content).hexdigest())


def test_the_child_gets_nothing_it_does_not_need(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setenv("SECRET", "s")
    monkeypatch.chdir(tmp_path)
    for name in ("onnx", "json", "lipaudit"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.syspath_prepend("")
    read_apart(SAMPLE.read_bytes(), REQUEST)
    told = tmp_path / "told"
    run_instead(
        monkeypatch,
        f"print('noise', flush=True); print('noise', file=sys.stderr, flush=True); "
        f"open({str(told)!r}, 'w').write(repr((sorted(os.environ), sys.stdin.read(), '' in sys.path)))",
    )
    with pytest.raises(InputRefused):
        read_apart(b"x", REQUEST)
    environment, stdin, here = eval(told.read_text())  # noqa: S307 - written two lines above
    assert not {"SECRET", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "PYTHONPATH", "HOME"} & set(environment)
    assert (stdin, here) == ("", False)
    assert capfd.readouterr() == ("", "")


def children(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]


SLEEPS = """
import sys
from lipaudit.load import isolated
isolated._START = "import os, sys, time; from lipaudit.load.child import _die_with_parent as d; d(); " \\
    "os.pwrite(int(sys.argv[2]), b'0' * 20, 0); time.sleep(600)"
isolated._START = "import json, sys; sys.path[:] = json.loads(sys.argv[3]); " + isolated._START
print("ready", flush=True)
isolated.read_apart(b"x", isolated.Request(name="m"))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks its children up in /proc")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_the_child_dies_with_its_caller(ending, tmp_path):
    """On Ctrl-C, and where the caller has no time to say good-bye; no file is left behind."""
    # A shell that runs this in the background ignores Ctrl-C on its children's behalf.
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + SLEEPS
    process = subprocess.Popen(
        [sys.executable, "-c", start],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(isolated.__file__).parents[2])},
    )
    process.stdout.readline()
    deadline = time.monotonic() + 30
    while not children(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    (child,) = children(process.pid)
    while b"lipaudit" not in Path(f"/proc/{child}/cmdline").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1.0)  # the child asks to die with its parent early, but not at once
    process.send_signal(ending)
    process.wait(timeout=30)
    process.stdout.close()
    while Path(f"/proc/{child}/statm").exists() and time.monotonic() < deadline:
        if "Z" in Path(f"/proc/{child}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[:1]:
            break  # dead; whoever adopted it has not looked yet
        time.sleep(0.01)
    assert time.monotonic() < deadline
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_refusal(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(InputRefused):
        read_apart(b"\x08\x07junk", REQUEST)
    read_apart(SAMPLE.read_bytes(), REQUEST)
    assert list(tmp_path.iterdir()) == []


# Graphs that ask for too much


def conv(pads):
    weight = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "k")
    return graph([helper.make_node("Conv", ["x", "k"], ["y"], pads=pads)], [weight], (1, 1, 4, 4))


def function(name, *nodes):
    return helper.make_function(
        "own", name, ["a"], ["b"], list(nodes), [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    )


def call(name, source="a", target="b"):
    return helper.make_node(name, [source], [target], domain="own")


def laughs():
    twice = [function(f"F{i}", call(f"F{i + 1}", "a", "t"), call(f"F{i + 1}", "t", "b")) for i in range(40)]
    last = function("F40", helper.make_node("Relu", ["a"], ["b"]))
    return graph([call("F0", "x", "y")], functions=[*twice, last])


def divides(op, divisor):
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node(op, ["seven", "i"] if divisor is None else ["i", "d"], ["q"]),
        helper.make_node("Cast", ["q"], ["y"], to=TensorProto.FLOAT),
    ]
    return graph(nodes, [integers("seven", 7), integers("d", divisor or 1)])


def one_hot(depth):
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("OneHot", ["i", "d", "v"], ["h"]),
        helper.make_node("ReduceSum", ["h", "axes"], ["y"], keepdims=0),
    ]
    values = numpy_helper.from_array(np.float32([0, 1]), "v")
    return graph(nodes, [numpy_helper.from_array(np.int64(depth), "d"), values, integers("axes", 2)])


def sized(op, *sizes):
    nodes = [helper.make_node(op, ["x", "s"], ["z"]), helper.make_node("ReduceMax", ["z"], ["y"], keepdims=1)]
    return graph(nodes, [integers("s", *sizes)], (1, 1))


def resize():
    scales = numpy_helper.from_array(np.float32([1, 1, 1e6, 1e6]), "s")
    return graph([helper.make_node("Resize", ["x", "", "s"], ["y"])], [scales], (1, 1, 4, 4))


def live_size(op):
    nodes = [
        helper.make_node("Cast", ["x"], ["s"], to=TensorProto.INT64),
        helper.make_node(op, ["s"] if op == "ConstantOfShape" else ["x", "s"], ["z"]),
        helper.make_node("ReduceMax", ["z"], ["y"]),
    ]
    return graph(nodes, shape=(4,))


def lying(**fields):
    weight = TensorProto(name="w", **{"data_type": 1, "dims": [4], "raw_data": bytes(16), **fields})
    return graph([helper.make_node("Add", ["x", "w"], ["y"])], [weight])


HOSTILE = {
    "pads of 2^30": (lambda: conv([1 << 30] * 4), "more than .* numbers in one tensor"),
    "resize by 10^6": (resize, "more than .* numbers in one tensor"),
    "expand to 10^12": (lambda: sized("Expand", 10**6, 10**6), "more than .* numbers"),
    "tile to 2^40": (lambda: sized("Tile", 1 << 20, 1 << 20), "more than .* numbers"),
    "one-hot of depth 2^31": (lambda: one_hot(1 << 31), "more than .* numbers"),
    "input of 10^12": (
        lambda: graph([helper.make_node("Relu", ["x"], ["y"])], shape=(1, 10**6, 10**6)),
        "more than",
    ),
    "batch of 10^6": (
        lambda: graph([helper.make_node("Relu", ["x"], ["y"])], shape=(1 << 20, 2)),
        "fixed batch of 1048576",
    ),
    "live Expand": (lambda: live_size("Expand"), "depends on the input"),
    "live Tile": (lambda: live_size("Tile"), "depends on the input"),
    "live ConstantOfShape": (lambda: live_size("ConstantOfShape"), "depends on the input"),
    "reshape that lies": (
        lambda: graph([helper.make_node("Reshape", ["x", "s"], ["y"])], [integers("s", 1 << 40, -1)]),
        "cannot|contradict",
    ),
    "integer division by the input": (lambda: divides("Div", None), "may be 0 or -1"),
    "integer division by -1": (lambda: divides("Div", -1), "may be 0 or -1"),
    "integer remainder of -1": (lambda: divides("Mod", -1), "may be 0 or -1"),
    "function that calls itself": (
        lambda: graph([call("F", "x", "y")], functions=[function("F", call("F"))]),
        "calls itself",
    ),
    "functions that call each other": (
        lambda: graph([call("F", "x", "y")], functions=[function("F", call("G")), function("G", call("F"))]),
        "calls itself",
    ),
    "functions that double 40 times": (laughs, "20000 are supported"),
    "cycle": (
        lambda: graph([helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]),
        "which nothing before it produces|not a valid",
    ),
    "weight of 2^62": (lambda: lying(dims=[1 << 31, 1 << 31]), "holds 16 bytes"),
    "negative weight": (lambda: lying(dims=[-4]), "negative extent"),
    "short weight": (lambda: lying(raw_data=bytes(15)), "holds 15 bytes, not 16"),
    "weight without numbers": (lambda: lying(raw_data=None), "holds 0 numbers, not 4"),
    "weight of no type": (lambda: lying(data_type=99), "number 99, which is not supported"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_graphs_that_ask_for_too_much(kind):
    make, says = HOSTILE[kind]
    with pytest.raises(InputRefused, match=says) as caught:
        read_apart(make(), REQUEST)
    assert caught.value.exit_code == 4


def test_graphs_that_ask_for_enough():
    """What stands beside the line."""
    wide = graph([helper.make_node("Relu", ["x"], ["y"])], shape=(64, 2))
    for data in (
        wide,
        conv([3] * 4),
        sized("Expand", 100, 100),
        divides("Div", 3),
        divides("Mod", 3),
        one_hot(9),
    ):
        assert read_apart(data, REQUEST).graph
    inner = graph([call("F", "x", "y")], functions=[function("F", helper.make_node("Relu", ["a"], ["b"]))])
    reading = read_apart(inner, REQUEST)
    assert b"own" in reading.reference
    assert b"Relu" in reading.graph
    assert reading.graph != reading.reference


@pytest.mark.slow
@pytest.mark.parametrize("size", [14, 15])
def test_constants_that_fill_the_memory_end_the_child(size):
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("ReduceSum", ["c"], ["r"], keepdims=0),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    with pytest.raises(InputRefused, match=r"MiB of memory|too large a constant"):
        read_apart(graph(nodes, [integers("s", 1 << size, 1 << size)]), REQUEST)


def test_check_file_only_tells_what_it_is(tmp_path):
    (tmp_path / "m").write_bytes(graph([helper.make_node("NoSuch", ["x"], ["y"])]))
    check_file(tmp_path / "m")
    (tmp_path / "m").write_bytes(b"hello")
    with pytest.raises(InputRefused, match="text file"):
        check_file(tmp_path / "m")


def test_our_own_mistakes_stay_mistakes(tmp_path, monkeypatch):
    """What our code raises is no refusal; what a library raises is."""
    (tmp_path / "m").write_bytes(SAMPLE.read_bytes())

    def ours(*_, **__):
        raise TypeError("a defect")

    def theirs(*_, **__):
        numpy_helper.to_array(TensorProto(data_type=1, dims=[5], raw_data=bytes(3)))

    for raiser, expected in ((ours, TypeError), (theirs, InputRefused)):
        monkeypatch.setattr("lipaudit.load.onnx.load_onnx", raiser)
        with pytest.raises(expected):
            load_model(tmp_path / "m")


def test_a_graph_that_crashes_onnxruntime_is_named_by_the_conversion(tmp_path):
    """Training-mode batch normalisation without its further outputs, in onnxruntime 1.31."""
    norm = helper.make_node("BatchNormalization", ["x", *"vvvv"], ["y", "", ""], name="norm", training_mode=1)
    ones = numpy_helper.from_array(np.ones(4, np.float32), "v")
    for batch, says in ((1, "cannot be converted: BatchNormalization 'norm'"), (3, "eval mode")):
        (tmp_path / "m").write_bytes(graph([norm], [ones], (batch, 4)))
        with pytest.raises(InputRefused) as caught:
            load_model(tmp_path / "m")
        assert says in str(caught.value)

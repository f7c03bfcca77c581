"""`lipaudit compare` as it is typed: names, architectures, outputs, streams, exit codes."""

import contextlib
import csv
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest
import tiny_models as tiny
from sample_comparison import COMPARISONS
from stand_in import TESTS

from lipaudit.cli.candidates import Asked, asked_models
from lipaudit.errors import UsageError
from lipaudit.report.comparison import to_text
from lipaudit.report.comparison.document import from_json, shipped_schema
from lipaudit.report.text import NARROWEST

FAST = ("--no-cost", "--no-attack", "--profile", "fast", "--device", "cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    tiny.write_onnx(tmp_path / "one" / "model.onnx")
    tiny.write_onnx(tmp_path / "two" / "model.onnx", np.eye(3, 4, dtype=np.float32) * 2)
    tiny.write_samples(tmp_path / "s.npz")
    (tmp_path / "bad.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Names and architectures


def names(*texts):
    return [model.name for model in asked_models(texts, ())]


def test_names_are_as_short_as_they_can_be():
    assert names("a/b/m.onnx", "a/c/n.onnx") == ["m.onnx", "n.onnx"]
    assert names("a/b/m.onnx", "a/c/m.onnx", "z.onnx") == ["b/m.onnx", "c/m.onnx", "z.onnx"]
    assert names("a/x/m.onnx", "b/x/m.onnx") == ["a/x/m.onnx", "b/x/m.onnx"]
    assert names("m.onnx", "a/m.onnx", "/m.onnx") == ["m.onnx", "a/m.onnx", "/m.onnx"]
    assert names("m.onnx", "m.onnx", "m.onnx") == ["m.onnx", "m.onnx (2)", "m.onnx (3)"]
    assert names("AOL=m.onnx", "CPL=m.onnx", "AOL (2)=x") == ["AOL", "CPL", "AOL (2)"]
    assert len(set(names("m", "m (2)", "m"))) == 3


def test_a_name_that_says_nothing_has_its_folder_before_it():
    assert names("a/model.onnx", "b/net_3.onnx") == ["a/model.onnx", "net_3.onnx"]
    assert names("a/model.onnx", "a/Model.safetensors") == ["a/model.onnx", "a/Model.safetensors"]
    assert names("x/a/best.pt", "y/a/best.pt") == ["x/a/best.pt", "y/a/best.pt"]
    assert names("weights.pt", "last.pt", "/model.onnx") == ["weights.pt", "last.pt", "/model.onnx"]


def test_a_file_whose_name_has_a_sign_of_equality_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1.onnx").touch()
    assert asked_models(["lr=0.1.onnx", "x=lr=0.1.onnx"], ()) == (
        Asked("lr=0.1.onnx", "lr=0.1.onnx", None),
        Asked("x", "lr=0.1.onnx", None),
    )


def test_two_models_of_one_name_are_refused():
    with pytest.raises(UsageError, match="two models are called 'a'"):
        asked_models(["a=m.onnx", "a=n.onnx"], ())


def arches(given, *models):
    return [model.arch for model in asked_models(models or ("x=a", "y=b"), given)]


def test_architectures():
    plain = 'net.py:make{"a": "b=c"}'
    assert arches([]) == [None, None]
    assert arches([plain]) == [plain, plain]
    assert arches(["a.py:f", plain]) == ["a.py:f", plain]
    assert arches([f"y={plain}"]) == [None, plain]
    assert arches(["a.py:f", f"y={plain}"]) == ["a.py:f", plain]
    assert arches([f"b={plain}"]) == [None, plain]
    assert arches([f"w={plain}"], "x=w", "y=w") == [plain, plain]


def test_architectures_beside_their_models():
    beside = '{dir}/net.py:make{"a": 1}'
    assert arches([beside], "p/x", "y") == ['p/net.py:make{"a": 1}', './net.py:make{"a": 1}']
    assert arches([f"y={beside}"], "x", "y=q/z") == [None, 'q/net.py:make{"a": 1}']


def test_modules_that_were_trained_are_asked_for_by_themselves():
    found = asked_models(["p/x", "q/y"], ["a.py:f"], ["{dir}/a.py:g", "b.py:h"])
    assert [model.arch for model in found] == ["a.py:f", "a.py:f"]
    assert [model.trained for model in found] == ["p/a.py:g", "b.py:h"]
    with pytest.raises(UsageError, match=r"--train-arch z=a.py:f: no model"):
        asked_models(["x"], [], ["z=a.py:f"])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["a.py:f", "b.py:g", "c.py:h"], "3 architectures for 2 models"),
        (["z=a.py:f"], "no model is called 'z'"),
        (["nonsense"], "nonsense"),
        (["x=nonsense"], "x=nonsense"),
        (["x=a.py:f", "x=b.py:g"], "'x' has an architecture already, a.py:f"),
        (["x=a.py:f", "x=a.py:f"], "'x' has an architecture already"),
        (["x=a.py:f", "a=b.py:g"], "'x' has an architecture already"),
    ],
)
def test_architectures_of_nobody(given, why):
    with pytest.raises(UsageError, match=why):
        arches(given)


def test_an_architecture_that_may_belong_to_two():
    with pytest.raises(UsageError, match="'b' is the name of one model and the path of another"):
        arches(["b=net.py:make"], "b=a", "x=b")


# The command


def test_tables_and_files(run, folder):
    done = run(
        "compare", "one/model.onnx", "two/model.onnx", "-d", "npz:s.npz", "--eps", "0.1,0.5", *FAST,
        "-o", "t.csv", "-o", "t.json", "-o", "t.md", "-o", "t.txt", "--plot", "curve.svg",
    )  # fmt: skip
    assert done.code == 0
    assert (folder / "t.txt").read_text() == done.out
    assert "one/model.onnx" in done.out
    assert done.out.splitlines()[-1].startswith("COMPARED (exit 0: ")
    assert done.err.splitlines() == [f"wrote {n}" for n in ("t.csv", "t.json", "t.md", "t.txt", "curve.svg")]
    comparison = from_json((folder / "t.json").read_text())
    one, two = (row.proved for row in comparison.models)
    assert one.global_.upper.value * 2 == pytest.approx(two.global_.upper.value)
    with (folder / "t.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["upper"]) for row in rows] == [one.global_.upper.value, two.global_.upper.value]
    assert "<svg" in (folder / "curve.svg").read_text()


@pytest.mark.usefixtures("folder")
def test_json_alone_on_stdout(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    for flags in (["--json"], ["-o", "json=-"]):
        done = run("compare", "one/model.onnx", "m=two/model.onnx", *FAST, *flags)
        assert done.code == 0
        assert [row["name"] for row in json.loads(done.out)["models"]] == ["one/model.onnx", "m"]
        assert done.err.splitlines()[-1].startswith("COMPARED")
        assert run("compare", "one/model.onnx", *FAST, *flags, "-q").err == ""


STAND_IN = """
import sys, types
sys.path.insert(0, TESTS)
import sample_comparison
room = types.ModuleType("lipaudit.comparison")
room.Candidate = lambda *_: None
room.compare = lambda *_, **__: sample_comparison.COMPARISONS["incomplete"]
sys.modules["lipaudit.comparison"] = room
from lipaudit.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("flags", [["--json"], []])
def test_a_terminal_of_40_columns(folder, flags):
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": "40", "TERM": "xterm"}
    program = STAND_IN.replace("TESTS", repr(TESTS))
    command = [sys.executable, "-c", program, "compare", str(folder / "one" / "model.onnx"), *flags]
    with subprocess.Popen(command, stdout=follower, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(follower)
        pieces = []
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(leader, 1 << 16):
                pieces.append(piece)
        assert process.wait() == 3
    os.close(leader)
    text = b"".join(pieces).decode().replace("\r\n", "\n")
    if flags:
        assert from_json(text).exit_code == 3
    else:
        assert text == to_text(COMPARISONS["incomplete"], width=NARROWEST)


@pytest.mark.usefixtures("folder")
def test_a_refused_model_beside_a_good_one(run):
    done = run("compare", "bad.onnx", "one/model.onnx", "gone.onnx", *FAST)
    assert done.code == 4
    assert done.out.splitlines()[-1] == "1 OF 3 COMPARED (exit 4: input refused)"
    assert done.err == ""
    assert "Git-LFS" in done.out
    proved = done.out.split("proved")[1].split("measured")[0]
    rows = {line.split()[0]: line.split()[1:] for line in proved.splitlines() if ".onnx" in line}
    assert rows.pop("bad.onnx") == rows.pop("gone.onnx") == ["—", "—"]
    ((lower, upper),) = rows.values()
    assert (lower, float(upper)) == ("—", pytest.approx(1))


@pytest.mark.usefixtures("folder")
def test_quiet_leaves_the_last_line_and_reasons(run):
    done = run("compare", "one/model.onnx", *FAST, "-q")
    assert done.out.count("\n") == 1
    assert done.err == ""
    done = run("compare", "bad.onnx", "one/model.onnx", *FAST, "-q")
    assert done.out == "1 OF 2 COMPARED (exit 4: input refused)\n"
    assert done.err.startswith("bad.onnx (exit 4): ")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["-o", "one/model.onnx"], "the name does not tell a format|one of the models"),
        (["-o", "json=two/model.onnx"], "is one of the models"),
        (["-o", "csv=s.npz", "-d", "npz:s.npz"], "is the data set itself"),
        (["-o", "t.html"], "does not tell a format"),
        (["-o", "sarif=t"], "no format is called"),
        (["-o", "no/t.csv"], "no folder"),
        (["--plot", "c.svg"], "needs a data set"),
        (["--plot", "c.png"], "a plot is SVG, so its name ends in .svg"),
        (["--plot", "c"], "-o svg=PATH for any name"),
        (["--max-lipschitz", "1"], "compare judges nothing"),
        (["--policy", "p.toml"], "compare judges nothing"),
        (["--json", "-o", "csv=-"], "two outputs go to stdout"),
        (["--batch", "0"], "--batch 0"),
        (["--batch", "99999999"], "--batch 99999999"),
        (["--eps", "-1", "-d", "npz:s.npz"], "-1"),
        (["--profile", "slow"], "--profile"),
        (["--no-cost", "--train-cost"], "contradict"),
        (["--train-arch", "net.py:make"], "no effect without --train-cost"),
        (["--limit", "0"], "--limit 0"),
    ],
)
def test_what_cannot_be_meant_is_told_before_the_work(run, folder, arguments, why):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = run("compare", "one/model.onnx", "two/model.onnx", *arguments)
    assert done.code == 2
    assert any(w in done.err for w in why.split("|"))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_no_model(run):
    assert run("compare").code == 2


@pytest.mark.usefixtures("folder")
def test_a_missing_data_set_is_told_once(run):
    done = run("compare", "one/model.onnx", "two/model.onnx", "-d", "npz:gone.npz", *FAST)
    assert done.code == 5
    assert done.err.count("error:") == 1


def test_the_schema(run):
    assert run("schema", "--comparison").out == shipped_schema()
    assert run("schema", "--comparison", "--attestation").code == 2


PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import lipaudit.comparison as room
real, seen = room.audit, []
def audit(path, **arguments):
    seen.append(path)
    if len(seen) == 2:
        os.kill(os.getpid(), signal.SIGINT)
    return real(path, **arguments)
room.audit = audit
from lipaudit.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_ctrl_c_keeps_the_finished_models(folder):
    (folder / "old.json").write_text("old")
    models = ["one/model.onnx", "two/model.onnx", "third=one/model.onnx"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "compare", *models, *FAST, "-o", "old.json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stdout.splitlines()[-1] == "1 OF 3 COMPARED (exit 130: interrupted)"
    assert "Traceback" not in done.stderr
    comparison = from_json((folder / "old.json").read_text())
    assert [row.proved is not None for row in comparison.models] == [True, False, False]
    assert not list(folder.glob(".lipaudit-*"))

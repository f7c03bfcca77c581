"""Bad input through the real command: one clear message, the documented exit code, no file left behind."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lipaudit.cli import main

SAMPLES = Path(__file__).parents[1] / "sample_models"
MODEL = SAMPLES / "mnist_plain" / "model.onnx"
IMAGES = SAMPLES / "mnist_test.npz"


class Malicious:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_the_malicious_pickle_does_what_it_says(tmp_path):
    pickle.loads(pickle.dumps(Malicious(tmp_path / "was_run"), protocol=2))
    assert (tmp_path / "was_run").exists()


@pytest.fixture
def command(capfd, tmp_path):
    """Runs the command in this process; asks for a report that a refused input must not leave behind."""

    def run(*arguments):
        code = main([str(a) for a in arguments] + ["-o", str(tmp_path / "out.json")])
        _, err = capfd.readouterr()
        return code, err

    return run


def refused(done, code, *words):
    got, err = done
    assert got == code, err
    lines = err.splitlines()
    assert "Traceback" not in err
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert lines[-1].startswith(f"exit {code}: ")
    for word in words:
        assert word in err
    return err


def npz(path, images, labels):
    np.savez(path, images=images, labels=np.asarray(labels))
    return f"npz:{path}"


def digits(count=60):
    with np.load(IMAGES) as archive:
        return archive["images"][:count], archive["labels"][:count]


def architecture(folder, forward):
    path = folder / "net.py"
    path.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.dense = torch.nn.Linear(4, 3)\n"
        "    def forward(self, x):\n"
        f"        return {forward}\n",
        encoding="utf-8",
    )
    return f"{path}:Net"


def weights(folder, value=1.0):
    path = folder / "weights.pth"
    torch.save({"dense.weight": torch.full((3, 4), value), "dense.bias": torch.zeros(3)}, path)
    return path


FILES = {
    "empty": (b"", "empty"),
    "text": (b"hello, this is no model\n", "text"),
    "web page": (b"<!doctype html><html></html>", "HTML"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git-LFS"),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_models(command, tmp_path, kind):
    content, word = FILES[kind]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refused(command(path), 4, "model.onnx", word)
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_truncated_onnx(command, tmp_path, share):
    path = tmp_path / "model.onnx"
    content = MODEL.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(command(path), 4, "model.onnx")
    assert not (tmp_path / "out.json").exists()


def test_no_such_file(command, tmp_path):
    shutil.copy(MODEL, tmp_path / "model.onnx")
    refused(command(tmp_path / "modle.onnx"), 5, "no such file", "did you mean")


def test_a_folder_is_no_model(command, tmp_path):
    refused(command(tmp_path), 5, "folder")


@pytest.mark.parametrize("with_arch", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_malicious_pickles_are_not_run(command, tmp_path, with_arch, zipped):
    path, trace = tmp_path / "weights.pth", tmp_path / "was_run"
    if zipped:
        torch.save({"a": Malicious(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(trace), protocol=2))
    arch = ["--arch", architecture(tmp_path, "self.dense(x)")] if with_arch else []
    refused(command(path, *arch), 4)
    assert not trace.exists()
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(command, tmp_path, value):
    arch = architecture(tmp_path, "self.dense(x)")
    refused(command(weights(tmp_path, value), "--arch", arch, "--input-shape", 4), 4, "NaN or infinity")


def test_shapes_that_disagree(command, tmp_path):
    data = npz(tmp_path / "d.npz", np.zeros((3, 30, 30), np.uint8), [0, 1, 2])
    refused(command(MODEL, "-d", data), 4, "shape")


def test_labels_out_of_range(command, tmp_path):
    images, labels = digits(5)
    labels = labels.copy()
    labels[2] = 10
    refused(command(MODEL, "-d", npz(tmp_path / "d.npz", images, labels)), 4, "label")


def test_data_that_is_missing(command, tmp_path):
    refused(command(MODEL, "-d", f"npz:{tmp_path / 'no.npz'}"), 5, "no.npz")


def test_mnist_that_is_missing(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LIPAUDIT_DATA", raising=False)
    refused(command(MODEL, "-d", "mnist"), 5, "t10k-images", "--data-dir")


USAGE = {
    "eps text": (["--eps", "big"], "--eps"),
    "eps zero": (["--eps", "0"], "--eps"),
    "eps negative": (["--eps=-1"], "--eps"),
    "eps nan": (["--eps", "nan"], "--eps"),
    "budget nan": (["--max-lipschitz", "nan"], "--max-lipschitz"),
    "budget inf": (["--max-lipschitz", "inf"], "--max-lipschitz"),
    "budget negative": (["--max-lipschitz=-1"], "--max-lipschitz"),
    "certified without data": (["--min-certified", "0.5:0.6"], "data set"),
    "certified above one": (["-d", f"npz:{IMAGES}", "--min-certified", "0.5:1.5"], "share"),
    "unknown flag": (["--no-such-flag"], "--no-such-flag"),
    "unknown data": (["-d", "mnits"], "did you mean mnist"),
    "unknown device": (["--device", "tpu"], "--device"),
    "unknown method": (["--method", "magic"], "magic"),
    "limit zero": (["--limit", "0"], "--limit"),
    "std zero": (["--std", "0"], "--std"),
}


@pytest.mark.parametrize("kind", USAGE)
def test_usage(command, tmp_path, kind):
    arguments, word = USAGE[kind]
    refused(command(MODEL, *arguments), 2, word)
    assert not (tmp_path / "out.json").exists()


def test_a_misspelt_command(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(command("audti"), 2, "did you mean")


def incomplete(code, out, report):
    assert code == report["exit_code"] == 3
    assert report["verdict"] == "incomplete"
    assert out.splitlines()[-1].startswith("INCOMPLETE (exit 3")
    return [finding["rule"] for finding in report["evidence"]["findings"] if finding["level"] == "error"]


@pytest.fixture
def audit(capfd, tmp_path):
    def run(*arguments):
        target = tmp_path / "out.json"
        code = main([str(a) for a in arguments] + ["-o", str(target)])
        out, err = capfd.readouterr()
        assert target.exists(), err
        return code, out, json.loads(target.read_text(encoding="utf-8"))

    return run


def test_an_operation_without_a_bound_is_incomplete_and_shown(audit, tmp_path):
    arch = architecture(tmp_path, "torch.exp(self.dense(x))")
    code, out, report = audit(weights(tmp_path), "--arch", arch, "--input-shape", 4, "--max-lipschitz", "1e9")
    assert incomplete(code, out, report) == ["LIP101"]
    assert report["evidence"]["global"]["upper"] == {"value": None, "hex": None, "status": "unbounded"}
    assert "dense" in out
    assert "PASS" not in out


def test_accuracy_near_chance_is_incomplete(audit, tmp_path):
    images, labels = digits(200)
    shifted = npz(tmp_path / "d.npz", images, (labels.astype(int) + 1) % 10)
    assert incomplete(*audit(MODEL, "-d", shifted)) == ["LIP301"]


def test_outputs_that_are_no_numbers_are_never_green(audit, tmp_path):
    arch = architecture(tmp_path, "torch.log(self.dense(x) - 1e6)")
    data = npz(tmp_path / "d.npz", np.random.default_rng(0).random((9, 4), np.float32), [0, 1, 2] * 3)
    assert "LIP302" in incomplete(*audit(weights(tmp_path), "--arch", arch, "-d", data))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["missing.onnx"], 5),
        (["empty.onnx"], 4),
        ([str(MODEL), "--max-lipschitz", "nan"], 2),
        ([str(MODEL), "--no-such-flag"], 2),
    ],
)
def test_the_process_ends_with_the_code(tmp_path, arguments, code):
    (tmp_path / "empty.onnx").touch()
    done = subprocess.run(
        [sys.executable, "-m", "lipaudit", *arguments, "-o", "out.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"empty.onnx"}

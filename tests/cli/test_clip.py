"""`lipaudit clip` as it is typed: limits, outputs, what it never replaces, exit codes."""

import hashlib
import json

import jsonschema
import numpy as np
import pytest
import tiny_models as tiny

from lipaudit.cli import main
from lipaudit.pipeline import audit
from lipaudit.report.repair import model_schema

FAST = ("--no-attack", "--profile", "fast", "--device", "cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tiny.write_onnx(tmp_path / "model.onnx", np.diag([4, 2, 1, 1]).astype(np.float32)[:3])
    tiny.write_samples(tmp_path / "s.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_model_is_written_and_told(folder, capsys):
    data = (folder / "model.onnx").read_bytes()
    code = main(
        ["clip", "model.onnx", "--lipschitz", "3/2", "-o", "c.onnx", "-d", "npz:s.npz", "--eps", "0.1", *FAST]
    )
    shown = capsys.readouterr()
    assert code == 0
    assert "clipped" in shown.out
    assert "certified at 0.1" in shown.out
    assert "median radius" in shown.out
    assert shown.out.splitlines()[-1].startswith("CLIPPED (exit 0: the network's bound is certified")
    assert "wrote c.onnx" in shown.err
    assert audit("c.onnx", attack=False).evidence.global_.upper.value <= 1.5
    assert (folder / "model.onnx").read_bytes() == data
    assert sorted(path.name for path in folder.iterdir()) == ["c.onnx", "model.onnx", "s.npz"]


def test_json_and_both_files(folder, capsys):
    words = [
        "clip",
        "model.onnx",
        "--layer-norm",
        "1",
        "-o",
        "c.onnx",
        "-o",
        "c.safetensors",
        "--json",
        *FAST,
    ]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1].startswith("CLIPPED (exit 0: the norm of 1 linear layer")
    assert "in the files as written" in shown.err
    told = json.loads(shown.out)
    assert (told["verdict"], told["exit_code"], told["asked"]) == ("clipped", 0, "1")
    model = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert told["input"]["files"][0]["sha256"] == model
    assert told["dataset"] is None
    assert told["biases"]["choice"] == "fit"
    assert [file["name"] for file in told["files"]] == ["c.onnx", "c.safetensors"]
    assert told["layers"][0]["action"] == "clipped"
    assert told["layers"][0]["after"]["value"] <= 1
    assert (folder / "c.safetensors").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        ([], 2, "is needed"),
        (["--lipschitz", "1", "--layer-norm", "1"], 2, "is needed"),
        (["--lipschitz", "0"], 2, "above 0"),
        (["--lipschitz", "nan"], 2, "--lipschitz"),
        (["--layer-norm", "-1"], 2, "--layer-norm"),
        (["--lipschitz", "1", "--how", "magic"], 2, "choose one of"),
        (["--lipschitz", "1", "--layer", "conv9"], 2, "no linear layer"),
        (["--lipschitz", "1", "--eps", "0.1"], 2, "no data set"),
    ],
)
def test_what_cannot_be_meant(folder, capsys, words, code, part):
    assert main(["clip", "model.onnx", "-o", "c.onnx", *words, *FAST]) == code
    assert part in capsys.readouterr().err
    assert not (folder / "c.onnx").exists()


def test_a_name_like_no_other_is_no_slip(folder, capsys):
    assert main(["clip", "nope.onnx", "--lipschitz", "1", "-o", "c.onnx"]) == 5
    assert "did you mean" not in capsys.readouterr().err
    assert (folder / "model.onnx").exists()


@pytest.mark.parametrize(
    ("output", "part"),
    [
        ((), "where does"),
        (("-o", "model=c.onnx"), "no format is called"),
        (("-o", "onnx=-"), "a path is needed"),
        (("-o", "onnx="), "a path is needed"),
        (("-o", "onnx=a", "-o", "b.onnx"), "one file per format"),
        (("-o", "c.txt"), "does not tell a format"),
        (("-o", "a.onnx", "-o", "b.onnx"), "one file per format"),
        (("-o", "model.onnx", "--force"), "the model itself"),
        (("-o", "link.onnx", "--force"), "the model itself"),
        (("-o", "other.onnx"), "exists and is not replaced"),
        (("-o", "nowhere/c.onnx"), "no folder"),
        (("-o", "folder.onnx", "--force"), "folder"),
        (("-o", "onnx=a.bin", "-o", "safetensors=a.bin"), "two outputs go to"),
        (("-o", "onnx=a.bin", "-o", "safetensors=./x/../a.bin"), "two outputs go to"),
        (("-o", "onnx=leads", "-o", "safetensors=t1", "--force"), "two outputs go to"),
        (("-o", "onnx=here/a.bin", "-o", "safetensors=a.bin", "--force"), "two outputs go to"),
    ],
)
def test_places_that_are_refused(folder, capsys, output, part):
    (folder / "other.onnx").write_text("mine")
    (folder / "link.onnx").symlink_to("model.onnx")
    (folder / "folder.onnx").mkdir()
    (folder / "x").mkdir()
    (folder / "leads").symlink_to("t1")
    (folder / "here").symlink_to(".")
    data = (folder / "model.onnx").read_bytes()
    assert main(["clip", "model.onnx", "--lipschitz", "1", *output, *FAST]) == 2
    assert part in capsys.readouterr().err
    assert (folder / "model.onnx").read_bytes() == data
    assert (folder / "other.onnx").read_text() == "mine"
    assert not list(folder.glob(".lipaudit*"))


def test_force_replaces_what_was_there(folder, capsys):
    (folder / "other.onnx").write_text("mine")
    words = ["clip", "model.onnx", "--lipschitz", "1", "-o", "onnx=other.onnx", "--force", "-q", *FAST]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1
    assert not shown.err
    assert audit("other.onnx", attack=False).evidence.global_.upper.value <= 1


def test_a_limit_out_of_reach_is_exit_1_and_no_file(folder, capsys, monkeypatch):
    monkeypatch.setattr("lipaudit.repair.drafts.total", lambda _: 2.0)
    assert main(["clip", "model.onnx", "--lipschitz", "1", "-o", "c.onnx", *FAST]) == 1
    assert "as written" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "s.npz"]


@pytest.mark.parametrize("place", ["c.onnx", "s.npz.onnx"])
def test_a_missing_model_is_told(folder, capsys, place):
    (folder / "s.npz.onnx").write_text("exists")
    assert main(["clip", "modle.onnx", "--lipschitz", "1", "-o", place]) == 5
    assert "did you mean model.onnx" in capsys.readouterr().err


def test_the_schema_is_the_records_own(folder, capsys):
    assert main(["schema", "--repair"]) == 0
    schema = capsys.readouterr().out
    assert schema == model_schema()
    assert main(["clip", "model.onnx", "--layer-norm", "1", "-o", "c.onnx", "--json", *FAST]) == 0
    told = json.loads(capsys.readouterr().out)
    jsonschema.validate(told, json.loads(schema))
    assert "before" in told
    assert (folder / "c.onnx").exists()

"""`lipaudit spectrum` as it is typed."""

from __future__ import annotations

import json

import pytest
import tiny_models as tiny
from sample_spectrum import SPECTRUM

from lipaudit.report.spectrum.document import from_json, shipped_schema
from lipaudit.report.spectrum.record import Interrupted


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.write_onnx(tmp_path / "model.onnx")


def test_the_table(run, model):
    done = run("spectrum", str(model), "--device", "cpu", "--all")
    assert done.code == 0
    assert "0.99999 ×3" in done.out
    assert "all 3 values, which agree: those" in done.out
    assert done.out.splitlines()[-1].startswith("SPECTRA OF 1 OF 1 LINEAR LAYER (exit 0")


def test_documents(run, model, tmp_path):
    outputs = ["-o", "v.csv", "-o", "v.md", "--plot", "v.svg", "-o", "json=v.data"]
    done = run("spectrum", str(model), "--json", "--top", "1", "--device", "cpu", *outputs)
    assert done.code == 0
    assert from_json(done.out).top == 1
    assert (tmp_path / "v.csv").read_text().startswith("layer,op,bound")
    assert (tmp_path / "v.svg").read_text().startswith("<")
    assert json.loads((tmp_path / "v.data").read_text()) == json.loads(done.out)


def test_ctrl_c_keeps_what_is_finished(run, model, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise Interrupted(SPECTRUM.model_copy(update={"exit_code": 130, "unreached": 2}))

    monkeypatch.setattr("lipaudit.spectrum.find_spectrum", interrupted)
    done = run("spectrum", str(model), "-o", "v.json")
    assert done.code == 130
    assert done.out.splitlines()[-1] == (
        "SPECTRA OF 4 OF 8 LINEAR LAYERS (exit 130: interrupted, 2 layers not reached)"
    )
    assert from_json((tmp_path / "v.json").read_text()).unreached == 2


def test_quiet(run, model):
    done = run("spectrum", str(model), "-q", "--device", "cpu")
    assert len(done.out.splitlines()) == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--top", "0"),
        ("--top", "5000"),
        ("--layer", "none*"),
        ("-o", "x.html"),
        ("--json", "-o", "json=-"),
        ("--profile", "wild"),
        ("-o", "model.onnx"),
    ],
)
def test_what_cannot_be_meant(run, model, options):
    before = model.read_bytes()
    assert run("spectrum", str(model), "--device", "cpu", *options).code == 2
    assert model.read_bytes() == before


def test_files_that_are_none(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("spectrum", "missing.onnx").code == 5
    (tmp_path / "bad.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert run("spectrum", "bad.onnx").code in {4, 5}


def test_a_plot_is_called_so(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"")
    told = run("spectrum", "m.onnx", "--plot", "s.png")
    assert told.code == 2
    assert "a plot is SVG, so its name ends in .svg" in told.err


def test_the_schema(run):
    assert run("schema", "--spectrum").out == shipped_schema()
    assert run("schema", "--spectrum", "--comparison").code == 2

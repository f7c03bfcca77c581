"""Gate and the file of the model's name that lies here: told, never judged."""

import hashlib
import os

import pytest
import sample_report as sample

from lipaudit.cli.model_file import looked_at
from lipaudit.report.canonical import sealed, to_json
from lipaudit.report.inputs import FileRecord

AUDITED = b"the audited bytes"
GATE = ("gate", "out/report.json", "--no-policy", "--max-lipschitz", "20")


def record(name, data=AUDITED):
    return FileRecord(name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with `out/report.json`, about `model.onnx`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    model = sample.evidence().model.model_copy(
        update={"name": "model.onnx", "files": (record("model.onnx"),)}
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text(to_json(sealed(sample.report(model=model))), "utf-8")
    return tmp_path


@pytest.mark.usefixtures("here")
def test_that_no_file_was_looked_at_is_said(run):
    done = run(*GATE)
    assert "model's file was not looked at" in done.out
    assert "lipaudit verify REPORT --model FILE" in " ".join(done.out.split())
    assert (done.code, done.err) == (0, "")


def test_the_audited_file_is_recognised(run, here):
    (here / "model.onnx").write_bytes(AUDITED)
    done = run(*GATE)
    assert "the bytes that were audited" in done.out
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("place", ["model.onnx", "out/model.onnx"])
@pytest.mark.parametrize("data", [b"longer than the audited bytes", AUDITED[:-1] + b"!"])
@pytest.mark.parametrize("flags", [(), ("-q",), ("-o", "json=-")])
def test_another_file_is_warned_of_and_changes_no_verdict(run, here, place, data, flags):
    plain = run(*GATE, *flags)
    (here / place).write_bytes(data)
    done = run(*GATE, *flags)
    assert f"warning: {place} here is not the file that was audited" in done.err
    assert done.code == plain.code == 0
    if not flags:
        assert "another file lies here than the one that was audited" in done.out
    else:
        assert done.out == plain.out, "the report and the verdict stay as they are"


def test_a_job_is_told_by_an_annotation(run, here, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    (here / "model.onnx").write_bytes(b"")
    assert "::warning title=lipaudit%3A another file::model.onnx here is not the file" in run(*GATE).err


def test_only_plain_files_under_base_names_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "real").write_bytes(AUDITED)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "below").mkdir()
    names = ["pipe", "folder", "missing", "../real", str(tmp_path / "real"), ".", "..", "", "a\0b"]
    assert looked_at([record(name) for name in names], [tmp_path, tmp_path / "below"]) == ()
    (found,) = looked_at([record("link")], [tmp_path, tmp_path])
    assert found.same
    assert not looked_at([record("real", b"x")], [tmp_path])[0].same

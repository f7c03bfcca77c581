"""Files of reports: what is none is refused by its name, whatever it is."""

import json
import os

import pytest
import sample_report as sample

from lipaudit.errors import InputRefused, InputUnavailable
from lipaudit.report import stored, to_json
from lipaudit.report.canonical import sealed

REPORT = sealed(sample.report())


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(to_json(REPORT), encoding="utf-8")
    assert stored.read_report(path) == REPORT
    path.write_bytes(b"\xef\xbb\xbf" + to_json(REPORT).encode())
    assert stored.read_report(path) == REPORT


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[" * 50_000, b"\x08\x02onnx\x00"])
def test_what_is_no_report_is_refused_by_name(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(InputRefused, match=r"a\.json"):
        stored.read_report(tmp_path / "a.json")


@pytest.mark.parametrize("change", [{"evidence_sha256": None}, {"evidence_sha256": "0" * 64}])
def test_what_was_changed_is_refused(tmp_path, change):
    (tmp_path / "a.json").write_text(json.dumps(json.loads(to_json(REPORT)) | change))
    with pytest.raises(InputRefused, match=r"a\.json: .*digest|a\.json: .*evidence_sha256"):
        stored.read_report(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["none.json", "a.json/b.json", "nul\0.json", "x" * 300])
def test_what_is_not_there_is_unavailable(tmp_path, name):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputUnavailable):
        stored.read_report(tmp_path / name)


def test_a_folder_is_no_report(tmp_path):
    with pytest.raises(InputRefused, match="is a folder"):
        stored.read_report(tmp_path)


def test_what_is_too_large_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "LARGEST", 100)
    (tmp_path / "a.json").write_bytes(b" " * 1000)
    assert len(stored.read_bytes(tmp_path / "a.json")) == 101
    with pytest.raises(InputRefused, match="larger than 100 bytes"):
        stored.read_report(tmp_path / "a.json")


def test_what_must_not_be_read_is_unavailable(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(InputUnavailable, match="cannot read"):
        stored.read_report(path)

"""`lipaudit convert`: a report that was made before, in other formats, and nothing else."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import report_zoo as zoo
import sample_report as sample

from lipaudit.report import FORMATS, stored, to_json
from lipaudit.report.canonical import sealed, stored_report

OLD = Path(__file__).parents[1] / "report" / "golden" / "report-1.0.json"


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "report [v1] größe.json"
    path.write_text(to_json(sealed(zoo.REPORTS["fail"])), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format(run, report, tmp_path, name):
    suffix = FORMATS[name].suffixes[0]
    done = run("convert", report, "-o", tmp_path / f"a{suffix}", "-o", f"{name}={tmp_path / 'b'}")
    wanted = FORMATS[name].render(sealed(zoo.REPORTS["fail"]))
    assert done.code == 0
    assert done.out == ""
    assert done.err.splitlines() == [f"wrote {tmp_path / f'a{suffix}'}", f"wrote {tmp_path / 'b'}"]
    assert (tmp_path / "b").read_bytes() == (tmp_path / f"a{suffix}").read_bytes() == wanted.encode()


@pytest.mark.parametrize("verdict", sample.CODES)
def test_the_verdicts_code_is_not_repeated(run, tmp_path, verdict):
    path = tmp_path / "r.json"
    findings = (sample.finding("error"),) if verdict == "incomplete" else ()
    evidence = zoo.REPORTS[verdict].evidence.model_copy(update={"findings": findings})
    report = sealed(zoo.REPORTS[verdict].model_copy(update={"evidence": evidence}))
    path.write_text(to_json(report), encoding="utf-8")
    done = run("convert", path, "-o", "sarif=-")
    assert done.code == 0
    assert done.out == FORMATS["sarif"].render(report)
    assert done.err == ""


def test_an_old_report_stays_one(run, tmp_path):
    """Schema 1.0 has no digest: as JSON it has none either, and whatever is read of it says so again."""
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    done = run("convert", OLD, "-o", first)
    assert (done.code, "carries no digest of its evidence (schema 1.0)" in done.err) == (0, True)
    document = json.loads(first.read_text(encoding="utf-8"))
    assert (document["schema_version"], document["evidence_sha256"]) == ("1.0", None)
    old, new = stored_report(OLD.read_text("utf-8")), stored_report(first.read_text("utf-8"))
    assert [f.rule for f in new.evidence.findings] == [*(f.rule for f in old.evidence.findings), "LIP308"]
    assert new.evidence.model_copy(update={"findings": old.evidence.findings}) == old.evidence
    done = run("convert", first, "-o", second)
    assert (done.code, "carries no digest" in done.err) == (0, True)
    assert second.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("csv", "svg")])
def test_no_format_of_an_old_report_is_green(run, tmp_path, name):
    document = json.loads(OLD.read_text("utf-8"))
    green = {"budgets": [], "findings": []}
    document |= {"verdict": "pass", "exit_code": 0, "evidence": document["evidence"] | green}
    (tmp_path / "old.json").write_text(json.dumps(document), "utf-8")
    done = run("convert", tmp_path / "old.json", "-o", f"{name}=-")
    assert done.code == 0
    assert "it may have been changed" in " ".join(done.out.split())
    assert "PASS" not in done.out


def test_what_lost_its_digest_is_refused(run, report, tmp_path):
    document = json.loads(report.read_text(encoding="utf-8")) | {"evidence_sha256": None}
    report.write_text(json.dumps(document), encoding="utf-8")
    done = run("convert", report, "-o", tmp_path / "r.json")
    assert (done.code, "carries no digest" in done.err) == (4, True)
    assert not (tmp_path / "r.json").exists()


def test_stdin(run, report, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(report.read_bytes())))
    assert run("convert", "-", "-o", tmp_path / "r.md").code == 0
    assert (tmp_path / "r.md").read_text(encoding="utf-8").startswith("## lipaudit: FAIL")
    monkeypatch.setattr(sys, "stdin", None)
    assert run("convert", "-", "-o", tmp_path / "r.md").code == 5
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert run("convert", "-", "-o", tmp_path / "r.md").code == 4


def test_what_is_lacking_is_said(run, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(to_json(sealed(zoo.REPORTS["no data"])), encoding="utf-8")
    done = run("convert", path, "-o", tmp_path / "r.csv")
    assert done.err == f"wrote {tmp_path / 'r.csv'} (no rows: no data set was evaluated)\n"
    assert "csv on stdout: no rows" in run("convert", path, "-o", "csv=-").err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a lipaudit report"),
        (b"{", "not a lipaudit report"),
        (b"[]", "no JSON object"),
        (b"\x80\x81", "not UTF-8"),
        (b'{"schema_version": "9.0"}', "not a lipaudit report"),
        (b"[" * 100_000, "not a lipaudit report"),
        (b"\x08\x02onnx\x00", "not a lipaudit report"),
    ],
)
def test_what_is_no_report_is_refused(run, tmp_path, content, said):
    path = tmp_path / "r.json"
    path.write_bytes(content)
    done = run("convert", path, "-o", tmp_path / "r.md")
    assert done.code == 4
    assert f"error: {path}" in done.err
    assert said in done.err
    assert "Traceback" not in done.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.json"]


def test_a_changed_report_is_refused(run, report, tmp_path):
    report.write_text(report.read_text(encoding="utf-8").replace("9812", "9813"), encoding="utf-8")
    done = run("convert", report, "-o", tmp_path / "r.md")
    assert done.code == 4
    assert "it was changed" in done.err


def test_a_byte_order_mark_is_no_harm(run, report, tmp_path):
    report.write_bytes(b"\xef\xbb\xbf" + report.read_bytes())
    assert run("convert", report, "-o", tmp_path / "r.md").code == 0


def test_a_file_too_large_for_a_report(run, report, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "LARGEST", 100)
    done = run("convert", report, "-o", tmp_path / "r.md")
    assert done.code == 4
    assert "larger than 100 bytes" in done.err


def test_missing_files(run, report, tmp_path):
    done = run("convert", tmp_path / "report [v1] größe.jsn", "-o", tmp_path / "r.md")
    assert done.code == 5
    assert f"did you mean {report}?" in done.err
    assert (
        "the path of a JSON report" in run("convert", tmp_path / "no" / "r.json", "-o", tmp_path / "r.md").err
    )
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert run("convert", tmp_path / "dangling", "-o", tmp_path / "r.md").code == 5
    assert run("convert", tmp_path, "-o", tmp_path / "r.md").code == 4


def test_an_unreadable_file(run, report, tmp_path):
    report.chmod(0)
    if os.access(report, os.R_OK):
        pytest.skip("this user may read everything")
    assert run("convert", report, "-o", tmp_path / "r.md").code == 5


@pytest.mark.parametrize(
    "options",
    [(), ("-o", "r.pdf"), ("-o", "md=-", "-o", "csv=-"), ("-o", "-"), ("--to", "md"), ("-o", "no/r.md")],
)
def test_usage(run, report, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("convert", report, *options)
    assert done.code == 2
    assert done.out == ""
    assert [p.name for p in tmp_path.iterdir()] == [report.name]


def test_nothing_to_convert_is_usage(run):
    assert run("convert").code == run("convert", "a.json", "b.json", "-o", "r.md").code == 2


def test_the_report_is_not_overwritten(run, report, tmp_path):
    before = report.read_bytes()
    link = tmp_path / "link.md"
    link.symlink_to(report)
    for target in (report, f"md={report}", link):
        done = run("convert", report, "-o", target)
        assert done.code == 2
        assert "the report itself" in done.err
    assert report.read_bytes() == before


def test_a_failed_write_keeps_the_others_and_leaves_no_half(run, report, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    (tmp_path / "a.md").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    done = run("convert", report, "-o", tmp_path / "a.md", "-o", "csv=/dev/null")
    assert done.code == 2
    assert "No space left on device" in done.err
    assert "wrote /dev/null" in done.err
    assert "wrote a.md" not in done.err
    assert (tmp_path / "a.md").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_no_torch(report, tmp_path):
    program = (
        "import sys\nfrom lipaudit.cli import main\n"
        f"assert main(['convert', {str(report)!r}, '-o', 'r.sarif', '-o', 'r.xml']) == 0\n"
        "assert not {'torch', 'numpy', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=tmp_path)
    assert (tmp_path / "r.sarif").exists()
    assert (tmp_path / "r.xml").exists()

"""`lipaudit verify`: what is refused before anything is proved, and how the result is told."""

import json

import pytest
import sample_report as sample

from lipaudit.attest import verify as verification
from lipaudit.attest.ledger import Difference, Verification
from lipaudit.errors import ExitCode, InputRefused
from lipaudit.report import to_json
from lipaudit.report.canonical import sealed

DIFFERENCE = Difference("global.upper", "0.5", "0.99")
RESULTS = {
    0: Verification((), ("16 layers",), (), ("radii",)),
    3: Verification((), ("16 layers",), ("budget x",), ("radii",)),
    4: Verification((DIFFERENCE,), (), ("budget x",), ()),
}


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(to_json(sealed(sample.report())), encoding="utf-8")
    return path


@pytest.fixture
def proved(monkeypatch):
    """Stands in for the proof; `calls` are its arguments."""

    class Proof:
        result, calls = RESULTS[0], []

        def verify(self, report, model, **options):
            self.calls.append({"report": report, "model": model, **options})
            if isinstance(self.result, BaseException):
                raise self.result
            return self.result

    stand_in = Proof()
    monkeypatch.setattr(verification, "verify", stand_in.verify)
    return stand_in


@pytest.mark.parametrize("code", RESULTS)
def test_the_result_is_told_last(run, report, model, proved, code):
    proved.result = RESULTS[code]
    done = run("verify", report, "--model", model, "-q")
    assert done.code == code
    assert f"(exit {code}: " in done.out
    assert len(done.out.splitlines()) == 1
    whole = run("verify", report, "--model", model)
    assert whole.out.splitlines()[-1] == done.out.strip()
    for text in ("report.json", "verdict pass", "15.25", "7012 of 10000"):
        assert text in whole.out
    assert ("\ndiffers " in whole.out) == (code == 4)
    assert ("not checked" in whole.out) == (code != 4)


def test_json(run, report, model, proved):
    proved.result = RESULTS[4]
    done = run("verify", report, "--model", model, "--json")
    document = json.loads(done.out)
    assert done.code == document["exit_code"] == 4
    assert document["result"] == "refused"
    assert document["differences"] == [{"where": "global.upper", "claimed": "0.5", "proved": "0.99"}]
    assert document["not_proved"] == ["budget x"]


def test_hostile_texts_cannot_move_the_cursor_or_fill_the_screen(run, report, model, proved):
    proved.result = Verification(
        tuple(Difference(f"layers[{i}] (\x1b[2J)", "x" * 5000, "y\nz") for i in range(500)), (), (), ()
    )
    done = run("verify", report, "--model", model)
    assert "\x1b" not in done.out
    assert len(done.out.splitlines()) < 400
    assert "460 more differences" in done.out


def test_options_arrive(run, report, model, proved):
    done = run("verify", report, "-m", model, "-d", "npz:x.npz", "--recheck", "7", "--seed", 3,
               "--data-dir", "d", "--offline", "--arch", "net.py:make", "--allow-global", "a.B",
               "--memory", "1GiB")  # fmt: skip
    assert done.code == 0
    call = proved.calls[-1]
    assert (call["dataset"], call["samples"], call["seed"]) == ("npz:x.npz", 7, 3)
    assert (call["data_dir"], call["offline"], call["memory"]) == ("d", True, 2**30)
    assert (call["arch"], call["allow_global"]) == ("net.py:make", ("a.B",))


@pytest.mark.parametrize(
    "options",
    [
        ["--recheck", "0"],
        ["--recheck", "-1"],
        ["--seed", "-1"],
        ["--memory", "1"],
        ["--arch", "nothing"],
        ["--recheck", "x"],
        ["--nonsense"],
    ],
)
def test_usage(run, report, model, proved, options):
    assert run("verify", report, "--model", model, *options).code == ExitCode.USAGE
    assert not proved.calls[1:]


def test_a_model_is_needed(run, report):
    done = run("verify", report)
    assert done.code == ExitCode.USAGE
    assert "--model" in done.err


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 4),
        (b"{}", 4),
        (b"[1, 2]", 4),
        (b"\xff\xfe{", 4),
        (b'{"evidence": {}, "evidence": {}}', 4),
        (b"[" * 100_000, 4),
    ],
)
def test_files_that_are_no_reports(run, tmp_path, model, data, code):
    path = tmp_path / "report.json"
    path.write_bytes(data)
    done = run("verify", path, "--model", model)
    assert done.code == code
    assert "Traceback" not in done.err


def test_files_that_are_missing(run, report, model, tmp_path):
    assert run("verify", tmp_path / "none.json", "--model", model).code == ExitCode.UNAVAILABLE
    assert run("verify", report, "--model", tmp_path / "none.onnx").code == ExitCode.UNAVAILABLE
    assert run("verify", tmp_path, "--model", model).code in (ExitCode.UNAVAILABLE, ExitCode.REFUSED)


def test_a_report_that_was_changed_is_refused_at_once(run, report, model, proved):
    document = json.loads(report.read_text(encoding="utf-8"))
    document["evidence"]["robustness"]["clean_accuracy"]["count"] += 1
    report.write_text(json.dumps(document), encoding="utf-8")
    done = run("verify", report, "--model", model)
    assert done.code == ExitCode.REFUSED
    assert not proved.calls
    assert "evidence_sha256" in done.err


def test_errors_keep_their_codes(run, report, model, proved):
    proved.result = InputRefused("the file is no model")
    assert run("verify", report, "--model", model).code == ExitCode.REFUSED
    proved.result = SystemExit(3)
    assert run("verify", report, "--model", model).code == ExitCode.INTERNAL
    done = run("verify", report, "--model", model, "--arch", "net.py:make")
    assert done.code == ExitCode.REFUSED
    assert "--arch" in done.err


def test_a_report_without_certificates_is_incomplete(run, report, model):
    document = json.loads(report.read_text(encoding="utf-8"))
    document["evidence_sha256"] = None
    report.write_text(json.dumps(document), encoding="utf-8")
    done = run("verify", report, "--model", model)
    assert done.code == ExitCode.INCOMPLETE
    assert "audit the model again" in done.err

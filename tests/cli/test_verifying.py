"""`lipaudit verify`: what is refused before anything is proved, and how the result is told."""

import json

import pytest
import sample_attestation as s
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
    for text in ("report.json", "verdict pass", "15.25", "7012 of 10000", "preprocessing scale 1, "):
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
        tuple(Difference(f"layers[{i}] (\x1b[2J)", "x" * 5000, "y\nz") for i in range(500)),
        ("a \x1b[2J",),
        ("b \x1b[2J",),
        ("c \x1b[2J",),
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


def test_nobody_names_a_seed(run, report, model, proved):
    assert run("verify", report, "-m", model, "-d", "npz:x.npz", "--recheck", "7").code == 0
    assert proved.calls[-1]["seed"] is None


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
    document |= {"evidence_sha256": None, "schema_version": "1.0"}
    report.write_text(json.dumps(document), encoding="utf-8")
    done = run("verify", report, "--model", model)
    assert done.code == ExitCode.INCOMPLETE
    assert "audit the model again" in done.err


@pytest.fixture
def signed(tmp_path):
    """An attestation, and its signer's public key."""
    attestation, key = tmp_path / "report.intoto.json", tmp_path / "key.pub.pem"
    attestation.write_text(json.dumps(s.envelope()), encoding="utf-8")
    key.write_bytes(s.public_pem_of(s.RAW["ed25519"]))
    return attestation, key


def test_an_attestation_is_verified(run, signed, model, proved):
    attestation, key = signed
    done = run("verify", attestation, "--key", key, "--model", model)
    assert done.code == 0
    assert f"the owner of key {s.KEY.public.keyid}" in " ".join(done.out.split())
    assert "2026-11-29T12:00:00Z" in done.out
    report = proved.calls[-1]["report"]
    assert (report.evidence, report.verdict) == (sample.evidence(), "pass")
    document = json.loads(run("verify", attestation, "--key", key, "--model", model, "--json").out)
    assert document["proved"][0].startswith("the signature: ")


def test_a_plain_report_is_no_attestation(run, report, signed, model, proved):
    done = run("verify", report, "--key", signed[1], "--model", model)
    assert done.code == ExitCode.REFUSED
    assert "nobody signed it" in done.err
    assert not proved.calls[1:]


def test_an_attestation_takes_a_key(run, signed, model):
    done = run("verify", signed[0], "--model", model)
    assert done.code == ExitCode.USAGE
    assert "--key is missing" in done.err


def test_keys_and_envelopes_that_do_not_fit(run, signed, model, proved, tmp_path):
    before = len(proved.calls)
    attestation, key = signed
    assert run("verify", attestation, "--key", tmp_path / "no.pem", "--model", model).code == 5
    other = tmp_path / "other.pub.pem"
    other.write_bytes(s.public_pem_of(s.RAW["another"]))
    assert run("verify", attestation, "--key", other, "--model", model).code == ExitCode.REFUSED
    text = attestation.read_text(encoding="utf-8")
    place = text.index('"payload": "') + 40
    flipped = "A" if text[place] != "A" else "B"
    attestation.write_text(text[:place] + flipped + text[place + 1 :], encoding="utf-8")
    done = run("verify", attestation, "--key", key, "--model", model)
    assert done.code == ExitCode.REFUSED
    assert "changed" in done.err
    assert len(proved.calls) == before


@pytest.mark.parametrize("command", [("verify", "--model", "m"), ("convert", "-o", "x.md"), ("gate",)])
def test_a_verdict_that_does_not_follow_is_refused(run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    name, *options = command
    budget = sample.budget("fail")
    document = json.loads(to_json(sealed(sample.report("fail", budgets=(budget,)))))
    document |= {"verdict": "pass", "exit_code": 0}
    (tmp_path / "report.json").write_text(json.dumps(document), encoding="utf-8")
    limit = ["--max-lipschitz", "20"] if name == "gate" else []
    done = run(name, "report.json", *options, *limit)
    assert done.code == ExitCode.REFUSED
    assert "fail follows from the evidence" in done.err
    assert not (tmp_path / "x.md").exists()

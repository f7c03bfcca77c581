"""`attest` and `keygen` from the command line."""

import errno
import json
import os
import re
import stat
import subprocess
import sys

import pytest
import sample_attestation as s
import sample_report as sample

from lipaudit.attest.envelope import opened
from lipaudit.attest.keys import read_public
from lipaudit.attest.statement import statement_schema
from lipaudit.cli import attesting
from lipaudit.errors import InputRefused, InputUnavailable
from lipaudit.report import canonical


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    monkeypatch.delenv("LIPAUDIT_KEY_PASSPHRASE", raising=False)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(s.report_text(), encoding="utf-8")
    return path


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(s.pem_of(s.RAW["ed25519"]))
    path.chmod(0o600)
    return path


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def read_back(attestation, key):
    return opened(attestation.read_text(encoding="utf-8"), attesting.public_key(str(key)))


# keygen


def test_a_new_pair_signs_and_verifies(run, report, tmp_path):
    private, public, out = tmp_path / "me.pem", tmp_path / "me.pub.pem", tmp_path / "a.json"
    done = run("keygen", private)
    assert done.code == 0
    assert done.err == ""
    assert (mode_of(private), mode_of(public)) == (0o600, 0o644)
    keyid = read_public(public.read_bytes(), "k").keyid
    for told in (str(private), str(public), keyid, "not encrypted"):
        assert told in done.out
    assert run("attest", report, "--key", private, "-o", out).code == 0
    assert read_back(out, public).predicate.verdict == "pass"


def test_the_private_key_is_never_readable_by_others(run, tmp_path):
    before = os.umask(0)
    try:
        run("keygen", tmp_path / "k.pem")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "k.pem") == 0o600


def test_a_file_is_created_with_its_mode(monkeypatch, tmp_path):
    seen = []
    true = os.open

    def watched(path, flags, mode=0o777, **more):
        seen.append((os.fspath(path), flags, mode))
        return true(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", watched)
    attesting.keygen(str(tmp_path / "k.pem"), encrypt=False)
    ((_, flags, mode),) = [call for call in seen if call[0].endswith("k.pem") and "pub" not in call[0]]
    assert mode == 0o600
    assert flags & os.O_EXCL


@pytest.mark.parametrize("name", ["k.pem", "k.pub.pem"])
@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_nothing_is_replaced(run, tmp_path, name, kind):
    place = tmp_path / name
    make = {
        "file": lambda: place.write_text("old"),
        "link": lambda: place.symlink_to(tmp_path / "nowhere"),
        "folder": place.mkdir,
    }
    make[kind]()
    done = run("keygen", tmp_path / "k.pem")
    assert done.code == 2
    assert "exists and is not replaced" in done.err
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_half_a_pair_is_not_left(run, monkeypatch, tmp_path):
    true = attesting.outputs.write_new

    def racing(path, data, mode):
        if ".pub" in path.name:
            path.write_text("somebody else's")
        true(path, data, mode)

    monkeypatch.setattr(attesting.outputs, "write_new", racing)
    assert run("keygen", tmp_path / "k.pem").code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["k.pub.pem"]
    assert (tmp_path / "k.pub.pem").read_text() == "somebody else's"


def test_a_key_that_could_not_be_written_is_not_left(run, monkeypatch, tmp_path):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = run("keygen", tmp_path / "k.pem")
    assert done.code == 2
    assert "No space left" in done.err
    assert list(tmp_path.iterdir()) == []


def test_no_folder_no_key(run, tmp_path):
    done = run("keygen", tmp_path / "no" / "k.pem")
    assert done.code == 2
    assert "no folder" in done.err


def test_encrypted_keys(run, report, monkeypatch, tmp_path):
    private = tmp_path / "k.pem"
    monkeypatch.setenv("LIPAUDIT_KEY_PASSPHRASE", s.PHRASE)
    done = run("keygen", private, "--encrypt")
    assert done.code == 0
    assert "mode 0600, encrypted" in done.out
    assert b"ENCRYPTED" in private.read_bytes()
    assert run("attest", report, "--key", private).code == 0
    monkeypatch.setenv("LIPAUDIT_KEY_PASSPHRASE", "wrong")
    done = run("attest", report, "--key", private)
    assert (done.code, done.out) == (4, "")
    assert "passphrase is wrong" in done.err
    monkeypatch.setenv("LIPAUDIT_KEY_PASSPHRASE", "")
    assert run("keygen", tmp_path / "l.pem", "--encrypt").code == 2
    assert not (tmp_path / "l.pem").exists()


def answers(monkeypatch, *given):
    waiting = list(given)
    monkeypatch.setattr(attesting, "getpass", lambda _: waiting.pop(0))
    monkeypatch.setattr(attesting.sys.stdin, "isatty", lambda: True, raising=False)
    return waiting


def test_a_terminal_is_asked(run, report, monkeypatch, tmp_path):
    private = tmp_path / "k.pem"
    left = answers(monkeypatch, "one", "two", "same", "same", "same", "other")
    assert run("keygen", private, "--encrypt").code == 2
    assert not private.exists()
    assert run("keygen", private, "--encrypt").code == 0
    assert run("attest", report, "--key", private).code == 0
    assert run("attest", report, "--key", private).code == 4
    assert left == []


def test_without_a_terminal_nobody_waits(run, report, monkeypatch, tmp_path):
    private = tmp_path / "k.pem"
    private.write_bytes(s.pem_of(s.RAW["ed25519"], s.PHRASE))
    monkeypatch.setattr(attesting.sys.stdin, "isatty", lambda: False, raising=False)
    done = run("attest", report, "--key", private)
    assert done.code == 2
    assert "set LIPAUDIT_KEY_PASSPHRASE" in done.err


def test_the_report_is_judged_before_the_passphrase_is_asked_for(run, monkeypatch, tmp_path):
    (tmp_path / "k.pem").write_bytes(s.pem_of(s.RAW["ed25519"], s.PHRASE))
    (tmp_path / "r.json").write_text("{}")
    left = answers(monkeypatch, "x")
    assert run("attest", tmp_path / "r.json", "--key", tmp_path / "k.pem").code == 4
    assert left == ["x"]


# attest


@pytest.mark.parametrize("name", ["ed25519", "p256"])
def test_an_attestation_to_a_file_and_to_stdout(run, report, tmp_path, name):
    private, out = tmp_path / "k.pem", tmp_path / "a.intoto.json"
    private.write_bytes(s.pem_of(s.RAW[name]))
    private.chmod(0o600)
    done = run("attest", report, "--key", private, "-o", out)
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines()[-1] == f"wrote {out}"
    keyid = s.public(name).keyid
    for told in ("PASS (exit 0)", f"mnist_cnn.onnx sha256:{sample.DIGEST}", keyid):
        assert told in done.err
    for text in (out.read_text(), run("attest", report, "--key", private, "-o", "-").out):
        assert opened(text, s.public(name)).predicate.evidence == sample.evidence()


@pytest.mark.parametrize("verdict", ["fail", "incomplete"])
def test_every_verdict_is_signed_and_said(run, key, tmp_path, verdict):
    path = tmp_path / "r.json"
    changes = {
        "fail": {"budgets": (sample.budget("fail"),)},
        "incomplete": {"findings": (sample.finding("error"),)},
    }
    path.write_text(s.report_text(verdict, **changes[verdict]))
    done = run("attest", path, "--key", key)
    assert done.code == 0
    assert f"{verdict.upper()} (exit {sample.CODES[verdict]})" in done.err


def test_the_time_can_be_told(run, report, key, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first, second = (run("attest", report, "--key", key).out for _ in range(2))
    assert first == second
    assert opened(first, s.KEY.public).predicate.attested_at == "2023-11-14T22:13:20Z"
    for wrong in ("", "-1", "1.5", "now", "9" * 12, "٣"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        assert run("attest", report, "--key", key).code == 2


def test_times_are_utc(run, report, key):
    told = opened(run("attest", report, "--key", key).out, s.KEY.public).predicate.attested_at
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", told)


def test_a_key_that_others_may_read_is_said(run, report, key):
    assert "warning" not in run("attest", report, "--key", key).err
    key.chmod(0o640)
    done = run("attest", report, "--key", key)
    assert done.code == 0
    assert f"warning: others may read {key} (mode 0640)" in done.err


def test_a_key_is_needed(run, report):
    done = run("attest", report)
    assert done.code == 2
    assert "keygen" in done.err


def test_what_is_missing(run, report, key, tmp_path):
    for arguments in ([tmp_path / "no.json", "--key", key], [report, "--key", tmp_path / "no.pem"]):
        done = run("attest", *arguments)
        assert done.code == 5
        assert "no such file" in done.err
    assert run("attest", tmp_path, "--key", key).code == 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "\udcff",
        canonical.to_json(sample.report()),
        json.dumps(
            json.loads(s.report_text("fail", budgets=(sample.budget("fail"),)))
            | {"verdict": "pass", "exit_code": 0}
        ),
        json.dumps(s.envelope()),
    ],
)
def test_what_is_not_attested(run, key, tmp_path, text):
    path, out = tmp_path / "r.json", tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    done = run("attest", path, "--key", key, "-o", out)
    assert (done.code, done.out) == (4, "")
    assert not out.exists()


def test_wrong_keys(run, report, tmp_path):
    pem = tmp_path / "k.pem"
    for data in (s.pem_of(s.FOREIGN["RSA"]), s.public_pem_of(s.RAW["ed25519"]), b"", b"x" * 70_000):
        pem.write_bytes(data)
        assert run("attest", report, "--key", pem).code == 4


def test_neither_the_key_nor_the_report_is_overwritten(run, report, key):
    for place, what in ((key, "the key itself"), (report, "the report itself")):
        before = place.read_bytes()
        done = run("attest", report, "--key", key, "-o", place)
        assert done.code == 2
        assert what in done.err
        assert place.read_bytes() == before


def test_a_place_that_cannot_be_written_is_told_first(run, report, tmp_path):
    assert run("attest", report, "--key", tmp_path / "no.pem", "-o", tmp_path / "no" / "a.json").code == 2


# Reading back


def test_what_is_written_is_what_was_judged(run, report, key, tmp_path):
    out, public = tmp_path / "a.json", tmp_path / "p.pem"
    run("attest", report, "--key", key, "-o", out)
    public.write_bytes(s.public_pem_of(s.RAW["ed25519"]))
    assert read_back(out, public).predicate.evidence == sample.evidence()
    with pytest.raises(InputRefused, match="private key"):
        attesting.public_key(str(key))
    with pytest.raises(InputUnavailable, match="no such file"):
        attesting.public_key(str(tmp_path / "no"))


def test_files_beyond_the_limit_are_not_read_whole(run, monkeypatch, key):
    monkeypatch.setattr(attesting, "LARGEST", 2**20)
    done = run("attest", "/dev/zero", "--key", key)
    assert done.code == 4
    assert "/dev/zero is larger than 1 MiB" in done.err


# The rest


def test_the_schema_of_attestations(run):
    done = run("schema", "--attestation")
    assert done.code == 0
    assert done.out == statement_schema()


def test_neither_command_loads_torch(report, key, tmp_path):
    program = (
        "import sys\nfrom lipaudit.cli import main\n"
        f"assert main(['attest', {str(report)!r}, '--key', {str(key)!r}]) == 0\n"
        f"assert main(['keygen', {str(tmp_path / 'new.pem')!r}]) == 0\n"
        "print('modules', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    modules = set(done.stdout.splitlines()[-1].split())
    assert "cryptography" in modules
    assert not modules & {"torch", "numpy", "onnx"}


def test_what_is_not_attested_is_named(run, tmp_path, key):
    old = tmp_path / "old.json"
    document = json.loads(s.report_text()) | {"schema_version": "1.0", "evidence_sha256": None}
    old.write_text(json.dumps(document), encoding="utf-8")
    done = run("attest", old, "--key", key)
    assert done.code == 4
    assert f"error: {old}: this report carries no digest" in done.err

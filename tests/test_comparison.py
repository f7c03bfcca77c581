"""Several models at once: equal proofs, no model hidden by another, the most serious exit code."""

import os
from itertools import permutations

import numpy as np
import pytest
import tiny_models as tiny

import lipaudit
from lipaudit import comparison as room
from lipaudit.comparison import SERIOUS, Candidate, compare, worst
from lipaudit.errors import ExitCode, InputUnavailable, UsageError
from lipaudit.report.comparison.document import to_json
from lipaudit.report.interruption import Interrupted

RADII = ("0.1", "1/4")


def options(data="none", **changes):
    fields = {
        "dataset": data,
        "data_dir": None,
        "offline": True,
        "resize": None,
        "crop": None,
        "allow_global": (),
        "trust_pickle": None,
        "input_shape": None,
        "logits": None,
        "eps": RADII,
        "profile": "fast",
        "device": "cpu",
        "attack": False,
    }
    return fields | changes


@pytest.fixture
def model(tmp_path):
    return str(tiny.write_onnx(tmp_path / "m.onnx"))


@pytest.fixture
def data(tmp_path):
    return tiny.write_samples(tmp_path / "s.npz")


def test_one_model_twice_gives_equal_proofs_which_are_the_audits(model, data):
    done = compare([Candidate("a", model), Candidate("b", model)], options(data), batch=None)
    one, two = done.models
    assert one.proved == two.proved
    alone = lipaudit.audit(model, dataset=data, eps=RADII, profile="fast", device="cpu", attack=False)
    assert one.proved.global_ == alone.evidence.global_
    assert one.proved.robustness == alone.evidence.robustness
    assert one.proved.evidence_sha256 == alone.evidence_sha256
    assert (done.exit_code, done.eps, done.notes) == (0, RADII, ())
    assert one.costs is None


def test_costs_are_measured(model, data):
    done = compare([Candidate("a", model)], options(data), batch=4, train=True)
    (row,) = done.models
    assert row.costs.parameters == 12
    assert row.costs.forward.batch == 4
    assert row.costs.forward.seconds.runs >= 5
    assert row.costs.training is None
    assert row.audit_seconds > 0
    assert done.training


def test_the_module_that_was_trained_may_stand_elsewhere(model, tmp_path):
    """An ONNX file holds the trained program; a plain --arch goes with files of weights only."""
    source = tmp_path / "net.py"
    source.write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))\n"
    )
    arch = f"{source}:make"
    done = compare([Candidate("a", model, trained=arch)], options(), batch=4, train=True)
    assert done.models[0].costs.training.batch == 4


def test_a_refused_model_hides_no_other(model, data, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    candidates = [
        Candidate("bad", str(tmp_path / "bad.onnx")),
        Candidate("gone", str(tmp_path / "gone.onnx")),
        Candidate("good", model),
    ]
    done = compare(candidates, options(data), batch=2)
    bad, gone, good = done.models
    assert (bad.exit_code, gone.exit_code, good.exit_code) == (4, 5, 0)
    assert done.exit_code == 4
    assert bad.proved is gone.proved is None
    assert bad.problem.message
    assert bad.problem.hint
    assert good.proved.robustness.clean_accuracy.count == 30
    assert good.costs.forward is not None


def test_a_defect_that_one_model_shows_hides_no_other(model, monkeypatch):
    real = room.audit

    def audit(path, **arguments):
        if arguments["arch"] == "x.py:y":
            raise ZeroDivisionError("inside")
        return real(path, **arguments)

    monkeypatch.setattr(room, "audit", audit)
    heard = []
    candidates = [Candidate("a", model, "x.py:y"), Candidate("b", model)]
    done = compare(candidates, options(), batch=None, defect=heard.append)
    assert done.exit_code == 70
    assert [type(error) for error in heard] == [ZeroDivisionError]
    assert done.models[0].problem.message == "ZeroDivisionError: inside"
    assert done.models[1].exit_code == 0


def test_an_unbounded_network_is_incomplete_and_says_why(model, tmp_path):
    other = str(tiny.write_onnx(tmp_path / "square.onnx", squared=True))
    done = compare([Candidate("a", model), Candidate("b", other)], options(), batch=None)
    assert [row.exit_code for row in done.models] == [0, 3]
    assert done.exit_code == 3
    assert done.models[1].proved.global_.upper.status == "unbounded"
    assert done.models[1].proved.findings


def interrupting(monkeypatch, at, error):
    """The audit of model number `at` is interrupted."""
    real, calls = room.audit, []

    def audit(path, **arguments):
        calls.append(path)
        report = real(path, **arguments)
        if len(calls) == at:
            raise error(report)
        return report

    monkeypatch.setattr(room, "audit", audit)
    return calls


def test_an_interrupt_keeps_what_is_finished(model, monkeypatch):
    calls = interrupting(monkeypatch, 2, lambda _: KeyboardInterrupt())
    done = compare([Candidate(n, model) for n in "abc"], options(), batch=2)
    assert len(calls) == 2
    assert done.exit_code == 130
    assert [row.exit_code for row in done.models] == [0, 130, 130]
    assert done.models[0].proved is not None
    assert done.models[2].problem.message == "interrupted before its turn was over"
    assert done.notes[0].startswith("Interrupted")


def test_an_interrupted_audit_keeps_its_own_part(model, monkeypatch):
    def stopped(report):
        return Interrupted(report.model_copy(update={"verdict": "incomplete", "exit_code": 130}))

    interrupting(monkeypatch, 1, stopped)
    done = compare([Candidate(n, model) for n in "ab"], options(), batch=2)
    assert done.exit_code == 130
    assert done.models[0].proved.verdict == "incomplete"
    assert done.models[1].proved is None


def test_an_interrupt_while_costs_are_measured(model, monkeypatch):
    monkeypatch.setattr(room, "time_all", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    done = compare([Candidate("a", model)], options(), batch=2)
    assert done.exit_code == 130
    assert done.models[0].exit_code == 0
    assert done.models[0].costs.forward.seconds is None
    assert done.models[0].costs.forward.peak_bytes > 0


def test_before_anything_is_proved_an_interrupt_ends_it(model, monkeypatch):
    interrupting(monkeypatch, 1, lambda _: KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        compare([Candidate("a", model)], options(), batch=None)


def test_what_concerns_every_model_is_told_once(model):
    with pytest.raises(InputUnavailable):
        compare([Candidate("a", model)], options("npz:/nowhere/s.npz"), batch=None)
    with pytest.raises(UsageError):
        compare([Candidate("a", model)], options(device="nothing"), batch=None)


def test_a_file_that_changes_between_audit_and_measurement_is_not_measured(model, monkeypatch):
    real = room.audit

    def audit(path, **arguments):
        report = real(path, **arguments)
        tiny.write_onnx(path, np.eye(3, 4, dtype=np.float32) * 2)
        return report

    monkeypatch.setattr(room, "audit", audit)
    done = compare([Candidate("a", model)], options(), batch=2)
    (row,) = done.models
    assert row.exit_code == 0
    assert row.costs.forward is None
    assert row.costs.notes == ("not measured: the file changed after it was audited",)


def test_other_samples_are_said(model, tmp_path, monkeypatch, data):
    real, more = room.audit, tiny.write_samples(tmp_path / "t.npz", 20)

    def audit(path, **arguments):
        changed = {"dataset": more, "threat_space": "input"} if arguments["arch"] else {}
        return real(path, **{**arguments, "arch": None, **changed})

    monkeypatch.setattr(room, "audit", audit)
    done = compare([Candidate("a", model), Candidate("b", model, "x.py:y")], options(data), batch=None)
    assert "not evaluated on the same samples" in done.notes[0]
    assert "not measured in the same space" in done.notes[1]


def test_with_a_fixed_moment_the_same_comparison_gives_the_same_bytes(model, data, monkeypatch):
    monkeypatch.setitem(os.environ, "SOURCE_DATE_EPOCH", "1700000000")
    one, two = (to_json(compare([Candidate("a", model)], options(data), batch=2)) for _ in range(2))
    assert one == two
    assert '"seconds": null' in one
    assert "no clock was read" in one


def test_asked_radii_are_sorted_and_stand_once(model, data):
    done = compare([Candidate("a", model)], options(data, eps=("0.5", "1/10", "1/2")), batch=None)
    assert done.eps == ("1/10", "0.5")


def test_the_worst_exit_code():
    assert worst([]) == ExitCode.PASS
    assert {*SERIOUS, ExitCode.BUDGET} == set(ExitCode)
    for serious, mild in permutations(SERIOUS, 2):
        if SERIOUS.index(serious) < SERIOUS.index(mild):
            assert worst([mild, serious, mild]) == serious

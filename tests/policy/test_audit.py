"""A real audit by a policy file, and the same judgement from its report."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sample_policy import policy_text

import lipaudit
from lipaudit.errors import ExitCode, UsageError
from lipaudit.moment import moment
from lipaudit.policy import judge, load_policy
from lipaudit.report.canonical import evidence_json


def policy(pattern="fir*", **changes):
    limits = {"lipschitz": 6, "each": 1, "eps": "0.01", "certified": "50%", "clean": "100%"}
    more = '[require]\ncoverage = "100%"\nmin_samples = 9\n'
    return policy_text(layers=[pattern, "second"], more=more, **limits, **changes)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A network with constant 6 that answers all of eight samples correctly, and where it lies."""
    folder = tmp_path_factory.mktemp("audit")
    weights = [numpy_helper.from_array(np.eye(4, dtype=np.float32) * k, f"w{k}") for k in (2, 3)]
    nodes = [
        helper.make_node("Gemm", ["x", "w2"], ["h"], name="first", transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w3"], ["y"], name="second", transB=1),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    taken = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "net", [given], [taken], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx"
    )
    images = np.tile(np.eye(4, dtype=np.float32), (2, 1))
    np.savez(folder / "d.npz", images=images, labels=np.tile(np.arange(4), 2))
    return folder


def audited(files, text):
    path = Path(files) / "lipaudit.toml"
    path.write_text(text, encoding="utf-8")
    return lipaudit.audit(files / "m.onnx", dataset=f"npz:{files / 'd.npz'}", scale=1, eps="1", policy=path)


def test_an_audit_by_a_policy(files):
    report = audited(files, policy())
    found = {b.id: b for b in report.evidence.budgets}
    assert {name: b.outcome for name, b in found.items()} == {
        "lip": "inconclusive" if report.evidence.global_.upper.value > 6 else "pass",
        "layers": "fail",
        "cert": "pass",
        "clean": "pass",
        "require.min_samples": "fail",
        "require.coverage": "pass",
    }
    assert found["layers"].waived
    assert [row.waived for row in found["layers"].layers] == [True, True]
    assert "0.01" in {point.eps_exact for point in report.evidence.robustness.curve}
    assert report.exit_code == ExitCode.BUDGET
    assert report.evidence.policy.name == "lipaudit.toml"
    assert str(files) not in evidence_json(report.evidence)

    judgement = judge(load_policy(files / "lipaudit.toml"), report.evidence, moment().date(), strict=True)
    assert judgement.report(report.evidence, report.run) == report


def test_a_layer_that_is_not_there_ends_the_audit_before_it_is_dear(files, monkeypatch):
    from lipaudit import pipeline  # noqa: PLC0415 -- torch

    monkeypatch.setattr(pipeline, "analyze", lambda *_: pytest.fail("too late"))
    with pytest.raises(UsageError, match="no layer is called 'frist\\*'"):
        audited(files, policy("frist*"))


@pytest.mark.parametrize("variable", ["1500000000", None])
def test_no_variable_revives_a_waiver(files, monkeypatch, variable):
    if variable is not None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", variable)
    report = audited(files, policy(expires="2020-01-31"))
    assert [waiver.state for waiver in report.evidence.waivers] == ["expired"]
    assert not any(budget.waived for budget in report.evidence.budgets)
    assert "LIP401" in {finding.rule for finding in report.evidence.findings}
    assert report.evidence.policy.judged_on > "2020-01-31"
    if variable is not None:
        assert report.run.started.startswith("2017-07-14")
        assert audited(files, policy()).evidence.policy.judged_on == "2017-07-14"


def test_a_waiver_of_one_layer_excuses_no_other(files):
    report = audited(files, policy(of=["first"]))
    (found,) = (b for b in report.evidence.budgets if b.id == "layers")
    assert [row.waived for row in found.layers] == [True, False]
    assert not found.waived
    assert audited(files, policy(of=["first", "sec*"])).evidence.budgets[1].waived

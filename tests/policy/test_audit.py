"""A real audit by a policy file, and the same judgement from its report."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lipaudit
from lipaudit.errors import ExitCode, UsageError
from lipaudit.moment import moment
from lipaudit.policy import judge, load_policy
from lipaudit.report.canonical import evidence_json

POLICY = """
[[budget]]
metric = "lipschitz"
max = 6
[[budget]]
id = "each"
metric = "lipschitz"
layers = ["{}*", "second"]
max = 1
[[budget]]
metric = "certified_accuracy"
eps = "0.01"
min = "50%"
[[budget]]
metric = "clean_accuracy"
min = 1
[require]
coverage = "100%"
min_samples = 9
[[waiver]]
budget = "each"
reason = "scaled on purpose"
owner = "me"
expires = 9999-12-31
"""


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
    report = audited(files, POLICY.format("fir"))
    found = {b.id: b for b in report.evidence.budgets}
    assert {name: b.outcome for name, b in found.items()} == {
        "lipschitz": "inconclusive" if report.evidence.global_.upper.value > 6 else "pass",
        "each": "fail",
        "certified_accuracy@0.01": "pass",
        "clean_accuracy": "pass",
        "require.min_samples": "fail",
        "require.coverage": "pass",
    }
    assert found["each"].waived
    assert [row.waived for row in found["each"].layers] == [True, True]
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
        audited(files, POLICY.format("frist"))

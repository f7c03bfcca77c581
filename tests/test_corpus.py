"""149 ONNX graphs that others published: each is bounded, unbounded for a reason, or refused for one.

They lie beside the checkout, not in it.
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import lipaudit
from lipaudit.errors import Incomplete, InputRefused
from lipaudit.load import load_model

SHARED = Path(__file__).parents[2] / "shared"
INDEX = SHARED / "models" / "index.csv"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INDEX.is_file(), reason="no published graphs beside this checkout"),
]
ROWS = list(csv.DictReader(INDEX.read_text(encoding="utf-8").splitlines())) if INDEX.is_file() else []

REFUSED = {
    "unet_upsample_small": "output 'out_num' is int64",
    "mscn_128d": "returns NaN or infinity on zeros",
    "patch-1": "the size of its output depends on the input",
    "patch-3": "the size of its output depends on the input",
    "mixed_quantized": "is quantized",
    "xgboost_boston": "operators outside of the ONNX standard: ai.onnx.ml.TreeEnsembleRegressor",
    "certificate_and_controller_mandal": r"has 2 inputs \(input_1, input_2\)",
    "concat_axis_0": r"has 3 inputs \(X1, X2, X3\)",
    "concat_axis_2": r"has 3 inputs \(X1, X2, X3\)",
    "Marabou__constant.onnx": "does not depend on the input",
    "split-2_axis-0": r"has 3 outputs \(Y1, Y2, Y3\)",
    "sub_var_test": r"has 2 inputs \(input1, input2\)",
    "after_debug": "has 2 outputs",
    "linear_func": r"has 3 inputs \(a, x, b\)",
    "model-deploy-tutorial__mnist": r"has 2 outputs \(output, hidden\)",
}
"""What is refused, and why."""

UNBOUNDED = {
    "118_ieee_ml4acopf": "pow has no Lipschitz constant",
    "14_ieee_ml4acopf-linear-nonresidual": "a product of two tensors that both depend on the input",
    "pensieve_mid_parallel": "a product of two tensors that both depend on the input",
    "quadrotor2d_output": "division by a tensor that depends on the input",
}
"""What has no bound, and one of the reasons."""


def named(row, table):
    return next((reason for key, reason in table.items() if key in row["file"]), None)


def path_of(row):
    return SHARED / "models" / row["file"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: Path(row["file"]).stem)
def test_every_graph_is_bounded_or_says_why_not(row):
    reason = named(row, REFUSED)
    if reason is not None:
        with pytest.raises(InputRefused, match=reason):
            load_model(path_of(row))
        return
    # The cheapest method: whether there is a bound does not depend on it.
    report = lipaudit.audit(path_of(row), method="schur", profile="fast", attack=False, device="cpu")
    upper = report.evidence.global_.upper.value
    why = named(row, UNBOUNDED)
    if why is None:
        assert math.isfinite(upper)
        assert report.exit_code == 0
    else:
        assert upper is None
        assert report.exit_code == 3
        found = [f for f in report.evidence.findings if f.rule == "LIP101"]
        assert any(re.search(why, f.message) for f in found)
        assert all(f.layer and f.message for f in found)


def test_enough_graphs_load():
    assert len(ROWS) - len(REFUSED) >= 132


@pytest.mark.parametrize(
    "row", [row for row in ROWS if named(row, REFUSED) is None], ids=lambda row: Path(row["file"]).stem
)
def test_what_is_loaded_answers_as_onnxruntime_does(row):
    """On inputs the program has not been compared on, and with all of onnxruntime's optimisations."""
    loaded = load_model(path_of(row))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path_of(row), options)
    source = session.get_inputs()[0]
    dtype = np.float64 if source.type == "tensor(double)" else np.float32
    fixed = [n if isinstance(n, int) and n > 0 else None for n in source.shape]
    batch = fixed[0] or 1
    random = np.random.default_rng(5)
    whole = loaded.input_shape[1:] == tuple(source.shape)
    for scale in (1.0, 0.3):
        x = (scale * random.standard_normal((1 if whole else batch, *loaded.input_shape[1:]))).astype(dtype)
        (wanted,) = session.run([session.get_outputs()[0].name], {source.name: x[0] if whole else x})
        with torch.no_grad():
            got = [
                loaded.program.module()(torch.from_numpy(x[i : i + 1])).numpy() for i in range(min(8, len(x)))
            ]
        wanted = wanted.reshape(len(x), -1)[:8].astype(np.float64)
        ours = np.stack([y.reshape(-1) for y in got]).astype(np.float64)
        assert np.abs(ours - wanted).max() <= 2e-4 * max(np.abs(wanted).max(), 1e-3)


STATED = {
    "/255": {"scale": 1},
    "raw255": {"scale": 255},
    "[-1,1]": {"mean": ["0.5"], "std": ["0.5"]},
    "mnist": {"mean": ["0.1307"], "std": ["0.3081"]},
    "cifar": {"mean": ["0.4914", "0.4822", "0.4465"], "std": ["0.2470", "0.2435", "0.2616"]},
    "imagenet": {"mean": ["0.485", "0.456", "0.406"], "std": ["0.229", "0.224", "0.225"]},
}
CLASSIFIERS = [row for row in ROWS if row["dataset"]]
FIRST, POINTS = 300, 0.027


def accuracy(row, **stated):
    """On the first samples; None where the program declines to answer."""
    try:
        report = lipaudit.audit(
            path_of(row),
            dataset={"mnist": "mnist", "cifar": "cifar10"}[row["dataset"]],
            data_dir=SHARED / "data",
            limit=FIRST,
            method="schur",
            profile="fast",
            attack=False,
            device="cpu",
            **stated,
        )
    except (InputRefused, Incomplete):
        return None
    tally = report.evidence.robustness.clean_accuracy
    assert tally.n == FIRST
    return tally.count / tally.n if report.exit_code == 0 else None


@pytest.mark.parametrize("stated", [True, False], ids=["stated", "found"])
def test_classifiers_reach_their_accuracy(stated):
    """With the listed preprocessing at least 40 of 43; without a word at least 39; no other is green."""
    reached, wrong = [], []
    for row in CLASSIFIERS:
        options = dict(STATED[row["preprocessing"]]) if stated else {}
        if stated and row["layout"] == "hwc":
            options["layout"] = "hwc"
        found = accuracy(row, **options)
        if found is not None:
            near = abs(found - float(row["accuracy_first300"])) <= POINTS
            (reached if near else wrong).append(row["file"])
    assert wrong == []
    assert len(reached) >= (40 if stated else 39)

"""The main job end to end on the shipped samples: the command, its report, its verdicts and exit codes."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

import lipaudit
from lipaudit.bound import Bound
from lipaudit.cli import main
from lipaudit.compose import NetworkBound
from lipaudit.errors import ExitCode, UsageError
from lipaudit.report.canonical import evidence_json, from_json

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
NAMES = ("mnist_lipschitz", "mnist_plain", "mnist_softplus", "mnist_spectral_norm")
"""The samples that are not made of 1-Lipschitz layers only; all others are `FAMILIES`."""
FAMILIES = sorted({path.parent.name for path in SAMPLES.glob("*/model.onnx")} - {*NAMES})
QUICK = ("mnist_cayley", "mnist_plain")
"""Of the families, those that are audited by default: one of filters by frequency, one of whole blocks."""
IMAGES = SAMPLES / "mnist_test.npz"
DATA = f"npz:{IMAGES}"
MNIST = ROOT.parent / "shared" / "data"
HEADLINE = ("--eps", "0.5", "--max-lipschitz", "1.1")

once = pytest.mark.xdist_group("headline")
"""On one worker, so that the audit behind `headline` runs once."""
needs_mnist = pytest.mark.skipif(
    not (MNIST / "mnist" / "t10k-images-idx3-ubyte.gz").exists(),
    reason="no MNIST in ../shared/data/mnist beside the sources",
)


def slow(names):
    """Parameters that are run by `-m slow`."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in sorted(names)]


def onnx_of(name):
    return SAMPLES / name / "model.onnx"


def process(*arguments, folder=ROOT, **environment):
    """The command as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "lipaudit", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


@pytest.fixture
def audit(capfd, tmp_path):
    """The command in this process: exit code, last line of the screen, report."""

    def run(*arguments):
        target = tmp_path / "out.json"
        code = main([*map(str, arguments), "-o", str(target)])
        out, err = capfd.readouterr()
        assert target.exists(), err
        report = json.loads(target.read_text(encoding="utf-8"))
        assert report["exit_code"] == code
        last = out.splitlines()[-1]
        assert last == f"{report['verdict'].upper()} (exit {code}: {ExitCode(code).meaning})"
        return code, report

    return run


@pytest.fixture
def refused(capfd):
    """The command in this process where it ends without a report: exit code and stderr."""

    def run(*arguments):
        code = main([*map(str, arguments)])
        out, err = capfd.readouterr()
        assert out == ""
        assert err.splitlines()[-1] == f"exit {code}: {ExitCode(code).meaning}"
        return code, err

    return run


@pytest.fixture(scope="module")
def headline(tmp_path_factory):
    """What a newcomer runs first: the screen, and the text of the JSON report."""
    target = tmp_path_factory.mktemp("headline") / "report.json"
    model = onnx_of("mnist_lipschitz").relative_to(ROOT)
    data = f"npz:{IMAGES.relative_to(ROOT)}"
    done = process(model, "--dataset", data, *HEADLINE, "-o", target)
    assert done.returncode == 0, done.stderr
    return done.stdout, target.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def document(headline):
    return json.loads(headline[1])


# The sample that is 1-Lipschitz by construction


@once
def test_the_lipschitz_sample_is_certified(document):
    evidence = document["evidence"]
    assert (document["verdict"], document["exit_code"]) == ("pass", 0)
    assert evidence["global"]["upper"]["value"] <= 1.05
    assert evidence["robustness"]["clean_accuracy"]["n"] == 1000
    assert evidence["robustness"]["clean_accuracy"]["count"] >= 960
    (point,) = evidence["robustness"]["curve"]
    assert point["certified_count"] >= 850
    assert (point["eps"], point["eps_exact"], point["n"]) == (0.5, "0.5", 1000)


@once
def test_the_lower_ends_lie_below_the_upper_ones(document):
    brackets = [document["evidence"]["global"], *document["evidence"]["layers"]]
    assert all(0 < b["lower"]["value"] <= b["upper"]["value"] for b in brackets)


@once
def test_radii_agree_with_the_counts(document):
    robustness = document["evidence"]["robustness"]
    samples = robustness["samples"]
    assert [s["index"] for s in samples] == list(range(1000))
    with np.load(IMAGES) as archive:
        assert [s["label"] for s in samples] == archive["labels"].tolist()
    assert sum(s["correct"] for s in samples) == robustness["clean_accuracy"]["count"]
    assert sum(s["radius"] > 0.5 for s in samples) == robustness["curve"][0]["certified_count"]
    assert all(s["correct"] == (s["label"] == s["predicted"]) for s in samples)
    assert all(s["radius"] == 0 for s in samples if not s["correct"])


@once
def test_radii_are_margins_over_constants(document):
    upper = document["evidence"]["global"]["upper"]["value"]
    for sample in document["evidence"]["robustness"]["samples"]:
        if sample["correct"]:
            # √2·L is what is known without looking at the last layer; pairs of its rows never give less.
            assert sample["radius"] >= sample["margin"] / (2**0.5 * upper) * (1 - 1e-8)


@once
def test_the_verdict_is_the_last_line_of_the_screen(headline):
    assert headline[0].splitlines()[-1].startswith("PASS (exit 0: ")


# The report


REAL, WORD, WHOLE = float, str, int
PATHS = {
    "schema_version": WORD,
    "verdict": WORD,
    "exit_code": WHOLE,
    "evidence.global.upper.value": REAL,
    "evidence.global.upper.hex": WORD,
    "evidence.global.upper.status": WORD,
    "evidence.global.lower.value": REAL,
    "evidence.layers[].name": WORD,
    "evidence.layers[].op": WORD,
    "evidence.layers[].method": WORD,
    "evidence.layers[].upper.value": REAL,
    "evidence.layers[].lower.value": REAL,
    "evidence.dataset.num_evaluated": WHOLE,
    "evidence.dataset.fingerprint_sha256": WORD,
    "evidence.robustness.clean_accuracy.count": WHOLE,
    "evidence.robustness.clean_accuracy.n": WHOLE,
    "evidence.robustness.curve[].eps": REAL,
    "evidence.robustness.curve[].eps_exact": WORD,
    "evidence.robustness.curve[].certified_count": WHOLE,
    "evidence.robustness.curve[].n": WHOLE,
    "evidence.model.files[].sha256": WORD,
    "evidence.preprocessing.threat_space": WORD,
}


def values(document, path):
    """All values at a path, `name[]` standing for every member of a list."""
    found = [document]
    for part in path.split("."):
        found = [value[part.removesuffix("[]")] for value in found]
        if part.endswith("[]"):
            found = [member for value in found for member in value]
    return found


@once
@pytest.mark.parametrize("path", PATHS)
def test_promised_paths(document, path):
    found = values(document, path)
    assert found
    assert {type(value) for value in found} == {PATHS[path]}


@once
def test_numbers_come_with_their_double(document):
    numbers = [
        document["evidence"]["global"]["upper"],
        *values(document, "evidence.layers[].upper"),
        *values(document, "evidence.layers[].lower"),
    ]
    assert all(float.fromhex(number["hex"]) == number["value"] for number in numbers)
    assert {number["status"] for number in numbers} == {"proved", "witnessed"}


@once
def test_the_report_keeps_to_the_printed_schema(document, capfd):
    assert main(["schema"]) == 0
    schema = json.loads(capfd.readouterr().out)
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    validator(schema).validate(document)
    damaged = copy.deepcopy(document)
    del damaged["evidence"]["global"]["upper"]["hex"]
    with pytest.raises(jsonschema.ValidationError, match="hex"):
        validator(schema).validate(damaged)


@once
def test_no_path_of_this_machine_is_in_the_evidence(document):
    text = json.dumps(document["evidence"])
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


@once
def test_python_and_the_command_say_the_same(headline):
    report = lipaudit.audit(onnx_of("mnist_lipschitz"), dataset=DATA, eps=("0.5",), max_lipschitz="1.1")
    told = from_json(headline[1])
    assert evidence_json(report.evidence) == evidence_json(told.evidence)
    assert (report.verdict, report.exit_code) == (told.verdict, told.exit_code)


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(tmp_path):
    arguments = (
        onnx_of("mnist_spectral_norm"),
        "--dataset",
        DATA,
        "--limit",
        "20",
        "--max-lipschitz",
        "1",
        "-q",
    )

    def run(**environment):
        target = tmp_path / "report.json"
        assert process(*arguments, "-o", target, **environment).returncode == 1
        return target.read_bytes()

    def evidence(text):
        return text[: text.index(b'\n  "exit_code"')]  # keys are sorted: evidence comes first

    fixed = {"SOURCE_DATE_EPOCH": "1796000000"}
    one = run(OMP_NUM_THREADS="1", **fixed)
    assert b'"samples"' in evidence(one)
    assert run(OMP_NUM_THREADS="1", **fixed) == one
    two = json.loads(run(OMP_NUM_THREADS="2"))
    # (Only a policy file would bring the day into the evidence.)
    assert json.dumps(two["evidence"], sort_keys=True) == json.dumps(
        json.loads(one)["evidence"], sort_keys=True
    )
    assert two["evidence_sha256"] == json.loads(one)["evidence_sha256"]
    assert (two["run"]["host"]["threads"], two["run"]["seconds"] > 0) == (2, True)


def test_a_sample_does_not_depend_on_the_others(audit):
    few, many = (
        audit(onnx_of("mnist_spectral_norm"), "-d", DATA, "--no-attack", "--limit", n)[1]["evidence"]
        for n in (7, 260)
    )
    assert few["robustness"]["samples"] == many["robustness"]["samples"][:7]
    assert few["layers"] == many["layers"]


# Budgets: pass, fail by witness, inconclusive


@pytest.mark.parametrize(
    ("limit", "verdict", "code"),
    [
        ("1.1", "pass", 0),
        ("0.5", "fail", 1),  # the witness reaches 0.85 …
        ("0.95", "inconclusive", 1),  # … and the bound 0.9994
    ],
)
def test_the_bracket_decides(audit, limit, verdict, code):
    got, report = audit(onnx_of("mnist_lipschitz"), "-d", DATA, "--limit", 10, "--max-lipschitz", limit)
    ends = report["evidence"]["global"]
    allowed = float(limit)
    expected = (
        "pass"
        if ends["upper"]["value"] <= allowed
        else "fail"
        if ends["lower"]["value"] > allowed
        else "inconclusive"
    )
    assert (got, report["verdict"]) == (code, verdict)
    assert report["verdict"] == expected
    (budget,) = report["evidence"]["budgets"]
    assert budget["outcome"] == verdict


@once
@pytest.mark.parametrize(
    ("counted", "more", "verdict", "code"),
    [
        ("certified", 0, "pass", 0),
        ("certified", 1, "inconclusive", 1),
        ("correct", 0, "inconclusive", 1),
        ("correct", 1, "fail", 1),  # a wrong answer is certified by no method
    ],
)
def test_shares_of_certified_samples(audit, document, counted, more, verdict, code):
    first = document["evidence"]["robustness"]["samples"][:300]
    counts = {"certified": sum(s["radius"] > 0.5 for s in first), "correct": sum(s["correct"] for s in first)}
    budget = ("--limit", 300, "--no-attack", "--min-certified", f"0.5:{counts[counted] + more}/300")
    got, report = audit(onnx_of("mnist_lipschitz"), "-d", DATA, *budget)
    assert (got, report["verdict"]) == (code, verdict)
    assert "0.5" in {point["eps_exact"] for point in report["evidence"]["robustness"]["curve"]}


def test_spectral_norm_fails_by_witness_and_names_its_layers(audit):
    code, report = audit(onnx_of("mnist_spectral_norm"), "-d", DATA, "--limit", 50, "--max-lipschitz", 1)
    assert (code, report["verdict"]) == (1, "fail")
    evidence = report["evidence"]
    assert evidence["global"]["lower"]["value"] > 1
    # What layers do together counts where they are bounded together.
    inside = {name for block in evidence["blocks"] for name in block["layers"]}
    over = {layer["name"] for layer in evidence["layers"] if layer["lower"]["value"] > 1} - inside
    named = {finding["layer"] for finding in evidence["findings"] if finding["rule"] == "LIP201"}
    assert named == over
    assert sum(layer["op"] == "conv2d" and layer["name"] in over for layer in evidence["layers"]) == 2


def test_a_broken_claim_is_an_internal_error(refused, monkeypatch, tmp_path):
    from lipaudit import pipeline  # noqa: PLC0415 - the command imports it late, too

    honest = pipeline.compose

    def optimistic(graph, layers, claims):
        bound = honest(graph, layers, claims)
        return NetworkBound(Bound(bound.total.value / 10, "wishful thinking"), bound.running)

    monkeypatch.setattr(pipeline, "compose", optimistic)
    target = tmp_path / "report.json"
    code, err = refused(onnx_of("mnist_lipschitz"), "-d", DATA, "--limit", 5, "-o", target)
    assert code == 70
    assert "wishful thinking" in err
    assert not target.exists()


def test_radii_that_are_too_large_are_attacked(refused, monkeypatch):
    from lipaudit import pipeline  # noqa: PLC0415

    honest = pipeline.pair_constants
    monkeypatch.setattr(pipeline, "pair_constants", lambda *given: (honest(*given)[0] / 10, "too good"))
    code, err = refused(onnx_of("mnist_lipschitz"), "-d", DATA, "--limit", 20)
    assert code == 70
    assert "inside the certified radius" in err


# The same network in two formats


@pytest.mark.parametrize("name", [*NAMES, *FAMILIES])
def test_both_files_hold_the_same_weights(name):
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(onnx_of(name)).graph.initializer}
    weights = load_file(SAMPLES / name / "model.safetensors")
    assert {n: stored[n].tobytes() for n in weights if n in stored} == {
        n: w.tobytes() for n, w in weights.items() if not n.endswith("num_batches_tracked")
    }
    assert all(path.stat().st_size < 4_000_000 for path in (SAMPLES / name).iterdir())


@pytest.mark.parametrize("name", [*QUICK, *slow({*NAMES, *FAMILIES} - {*QUICK})])
def test_onnx_and_safetensors_agree(name):
    folder = SAMPLES / name
    data = DATA if name.startswith("mnist") else "none"
    options = {"dataset": data, "limit": 40 if name.startswith("mnist") else None, "attack": False}
    one = lipaudit.audit(folder / "model.onnx", **options).evidence
    two = lipaudit.audit(folder / "model.safetensors", arch=f"{folder / 'arch.py'}:build", **options).evidence
    assert two.global_.upper.value == pytest.approx(one.global_.upper.value, rel=1e-6)
    assert two.preprocessing == one.preprocessing
    assert two.dataset == one.dataset
    assert (one.model.trust, two.model.trust) == ("data only", "runs the --arch file")
    if name in FAMILIES:
        assert max(one.global_.upper.value, two.global_.upper.value) <= 1.001
        assert one.findings == two.findings == ()
    if one.robustness is None or two.robustness is None:
        assert one.robustness is two.robustness is None
        return
    assert two.robustness.clean_accuracy == one.robustness.clean_accuracy
    for a, b in zip(one.robustness.samples, two.robustness.samples, strict=True):
        assert (a.index, a.predicted) == (b.index, b.predicted)
        assert b.radius == pytest.approx(a.radius, rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_preprocessing_by_flags_equals_the_metadata(audit):
    budgets = ("-d", DATA, "--limit", 20, "--no-attack")
    _, stated = audit(onnx_of("mnist_plain"), *budgets)
    _, flagged = audit(onnx_of("mnist_plain"), *budgets, "--mean", "0.1307", "--std", "3081/10000")
    assert flagged["evidence"]["preprocessing"].pop("source") == "flags and metadata"
    assert stated["evidence"]["preprocessing"].pop("source") == "metadata"
    assert flagged["evidence"] == stated["evidence"]


# MNIST itself


@needs_mnist
@pytest.mark.parametrize("folder", [MNIST, MNIST / "mnist"], ids=["parent", "folder"])
def test_mnist_is_found(audit, folder):
    model = onnx_of("mnist_spectral_norm")
    code, report = audit(model, "-d", "mnist", "--data-dir", folder, "--limit", 1000, "--no-attack")
    dataset = report["evidence"]["dataset"]
    assert code == 0
    assert (dataset["name"], dataset["total"], dataset["num_evaluated"]) == ("mnist:test", 10_000, 1000)
    assert dataset["official"] is True
    # The shipped archive holds the first thousand, so the tensors are the same.
    assert dataset["fingerprint_sha256"] == shipped_fingerprint()
    assert report["evidence"]["robustness"]["clean_accuracy"]["count"] >= 980


def shipped_fingerprint():
    from lipaudit.data import load_dataset  # noqa: PLC0415

    return load_dataset(DATA).fingerprint_sha256


@pytest.mark.slow
@needs_mnist
def test_a_seed_draws(audit):
    def drawn(seed):
        where = ("-d", "mnist", "--data-dir", MNIST)
        _, report = audit(onnx_of("mnist_lipschitz"), *where, "--limit", 60, "--seed", seed, "--no-attack")
        evidence = report["evidence"]
        assert (evidence["dataset"]["limit"], evidence["dataset"]["seed"]) == (60, seed)
        return evidence["dataset"], [s["index"] for s in evidence["robustness"]["samples"]]

    one, two = drawn(1), drawn(2)
    assert one == drawn(1)
    assert one[0]["fingerprint_sha256"] != two[0]["fingerprint_sha256"]
    assert one[1] == sorted(set(one[1]))
    assert len(one[1]) == 60
    assert max(one[1]) > 1000


# Incomplete, and which exit code comes first


def small_onnx(folder, *operators):
    """x (1, 4) → Gemm → … → logits (1, 3)."""
    names = ["h", *(f"h{i}" for i in range(len(operators)))]
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"], transB=1, name="dense")]
    nodes += [
        helper.make_node(operator, [names[i]], [names[i + 1]], name=f"{operator.lower()}_{i}")
        for i, operator in enumerate(operators)
    ]
    weight = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(3, 4) / 12, "w")
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    taken = helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph(nodes, "net", [given], [taken], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "net.onnx"
    onnx.save(model, path)
    return path


def errors_of(report):
    return [f["rule"] for f in report["evidence"]["findings"] if f["level"] == "error"]


def test_every_operation_without_a_bound_is_named(audit, tmp_path):
    code, report = audit(small_onnx(tmp_path, "Exp", "Relu", "Floor"))
    assert (code, report["verdict"]) == (3, "incomplete")
    assert errors_of(report) == ["LIP101", "LIP101"]
    messages = " ".join(f["message"] for f in report["evidence"]["findings"])
    assert "exp" in messages
    assert "floor" in messages
    layers = {layer["op"]: layer for layer in report["evidence"]["layers"]}
    assert layers["linear"]["upper"]["status"] == "proved"
    assert report["evidence"]["global"]["upper"] == {"value": None, "hex": None, "status": "unbounded"}


def test_weights_with_an_operation_without_a_bound_are_incomplete(tmp_path):
    path = tmp_path / "net.py"
    path.write_text("import torch\nclass N(torch.nn.Module):\n    def __init__(self):\n"
                    "        super().__init__()\n        self.l = torch.nn.Linear(4, 3)\n"
                    "    def forward(self, x):\n        return self.l(x) ** 3\n")  # fmt: skip
    torch.save({"l.weight": torch.ones(3, 4), "l.bias": torch.zeros(3)}, tmp_path / "w.pth")
    report = lipaudit.audit(tmp_path / "w.pth", arch=f"{path}:N", input_shape=(4,))
    assert (report.verdict, report.exit_code) == ("incomplete", 3)
    assert report.evidence.global_.upper.value is None


WRONG = ("-d", DATA, "--mean", "1", "--std=-1", "--no-attack")  # black ink on white paper


def test_wrong_preprocessing_is_incomplete(audit):
    code, report = audit(onnx_of("mnist_lipschitz"), *WRONG)
    assert (code, report["verdict"]) == (3, "incomplete")
    assert errors_of(report) == ["LIP301"]
    assert report["evidence"]["robustness"]["clean_accuracy"]["count"] < 130


@pytest.mark.slow
def test_a_failed_budget_precedes_incomplete(audit):
    code, report = audit(onnx_of("mnist_lipschitz"), *WRONG, "--min-certified", "0.5:60%")
    assert (code, report["verdict"]) == (1, "fail")
    assert errors_of(report) == ["LIP301"]


def test_incomplete_precedes_an_undecided_budget(audit, tmp_path):
    code, report = audit(small_onnx(tmp_path, "Exp"), "--max-lipschitz", "1e9")
    assert (code, report["verdict"]) == (3, "incomplete")
    assert [budget["outcome"] for budget in report["evidence"]["budgets"]] == ["inconclusive"]


def test_usage_precedes_refused_and_unavailable(refused, tmp_path):
    empty = tmp_path / "empty.onnx"
    empty.touch()
    code, err = refused(empty, "-d", f"npz:{tmp_path / 'missing.npz'}", "--eps", "nan")
    assert code == 2
    assert "--eps" in err


def test_refused_precedes_unavailable(refused, tmp_path):
    empty = tmp_path / "empty.onnx"
    empty.touch()
    code, err = refused(empty, "-d", f"npz:{tmp_path / 'missing.npz'}")
    assert code == 4
    assert "empty" in err


def test_refusals_from_python_carry_their_code(tmp_path):
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(lipaudit.LipauditError, match="empty") as caught:
        lipaudit.audit(tmp_path / "empty.onnx")
    assert caught.value.exit_code == 4
    with pytest.raises(lipaudit.LipauditError) as caught:
        lipaudit.audit(onnx_of("mnist_plain"), max_lipschitz=float("nan"))
    assert caught.value.exit_code == 2


def test_metadata_written_by_hand_is_honoured(audit, tmp_path):
    model = onnx.load(small_onnx(tmp_path))
    entry = model.metadata_props.add()
    entry.key = "lipaudit.preprocessing"
    entry.value = json.dumps({"version": 1, "scale": "255", "mean": ["0.5"], "std": ["1/3"]})
    onnx.save(model, tmp_path / "stated.onnx")
    _, plain = audit(tmp_path / "net.onnx", "--no-attack")
    _, stated = audit(tmp_path / "stated.onnx", "--no-attack")
    ratio = stated["evidence"]["global"]["upper"]["value"] / plain["evidence"]["global"]["upper"]["value"]
    assert ratio == pytest.approx(float(Fraction(255) * 3), rel=1e-7)
    assert plain["evidence"]["preprocessing"]["threat_space"] == "the model's own input"
    assert stated["evidence"]["preprocessing"]["threat_space"] == "pixel [0,1]"
    assert stated["evidence"]["preprocessing"]["source"] == "metadata"


# Units: floating images outside [0, 1]


def test_images_in_another_unit_contradict_metadata_about_pixels(refused, tmp_path):
    with np.load(SAMPLES / "mnist_test.npz") as stored:
        np.savez(tmp_path / "d.npz", images=stored["images"][:60].astype("f4"), labels=stored["labels"][:60])
    code, message = refused(onnx_of("mnist_plain"), "-d", f"npz:{tmp_path / 'd.npz'}")
    assert code == 4
    assert "pixels in [0,1]" in message


def test_images_in_another_unit_are_a_finding(tmp_path):
    with np.load(SAMPLES / "mnist_test.npz") as stored:
        np.savez(tmp_path / "d.npz", images=stored["images"][:60].astype("f4"), labels=stored["labels"][:60])
    report = lipaudit.audit(
        onnx_of("mnist_plain"), dataset=f"npz:{tmp_path / 'd.npz'}", scale=Fraction(1, 255), attack=False
    )
    assert [f.rule for f in report.evidence.findings] == ["LIP303"]
    assert report.evidence.preprocessing.threat_space == "the file's own units"


@pytest.mark.slow
def test_a_single_radius_need_not_be_a_list():
    one, two = (
        lipaudit.audit(onnx_of("mnist_plain"), dataset=DATA, limit=20, eps=eps, attack=False)
        for eps in ("0.5", [0.5])
    )
    assert evidence_json(one.evidence) == evidence_json(two.evidence)


def test_an_unknown_device_is_a_usage_error():
    with pytest.raises(UsageError, match="tpu"):
        lipaudit.audit(onnx_of("mnist_plain"), device="tpu")

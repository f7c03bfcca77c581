"""README says what the program does: help, screen, tables, snippets, and the test command that CI runs."""

from __future__ import annotations

import inspect
import json
import re
import runpy
import shlex
import subprocess
from collections import defaultdict
from pathlib import Path
from shutil import which
from typing import get_args

import numpy as np
import onnx
import pytest
import repair_models as models
import sample_attestation as attestation
import sample_report
from onnx import TensorProto, helper, numpy_helper
from ruamel.yaml import YAML

import lipaudit
from lipaudit import layers
from lipaudit.blocks import RULES
from lipaudit.cli import main
from lipaudit.cli.commands import COMMANDS, command_in, command_named
from lipaudit.cli.help import help_text
from lipaudit.errors import ExitCode
from lipaudit.load import parse_metadata
from lipaudit.ops import OPS
from lipaudit.policy.reading import read_policy
from lipaudit.policy.requirement import CLAUSES
from lipaudit.report import FORMATS, AuditReport
from lipaudit.report.comparison import words as comparison_words
from lipaudit.report.judgement import Metric
from lipaudit.spectral import METHODS

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE_README = (SAMPLES / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
CALLS = [
    shlex.split(call.removeprefix(".venv/bin/"), comments=True)[1:]
    for block in BLOCKS
    for call in re.findall(r"(?:^|&& |run: )((?:\.venv/bin/)?lipaudit .*)$", block, re.MULTILINE)
]
VERSION = re.compile(r"(onnx2torch|onnxruntime|onnx) \d+(?:\.\d+)+")
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
FAMILIES = {
    "linear": "linear maps",
    "contraction": "products with a constant",
    "conv": "convolutions",
    "fourier": "Fourier transforms",
    "pool": "pooling",
    "normalization": "normalisation",
    "activation": "activations",
    "arithmetic": "arithmetic",
    "reduction": "reductions",
    "resize": "resizing",
    "concat": "concatenation",
    "shape": "moving entries",
    "softmax": "softmax",
    "sorting": "sorting",
}


def marked(name):
    """The code block after a marker."""
    (found,) = re.findall(rf"^<!-- {name} -->\n```\w*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return found


def operations_table():
    """The table that README must hold: every public name of `OPS`, by family."""
    names = defaultdict(dict)
    for target, spec in OPS.items():
        operation = target.split(".")[1]
        if not operation.startswith("_") and not operation.endswith("_copy"):
            names[spec.translate.__module__.rpartition(".")[2]][operation] = None
    rows = [
        f"| {FAMILIES[family]} | {', '.join(f'`{n}`' for n in found)} |" for family, found in names.items()
    ]
    return "\n".join(["| | operations |", "|---|---|", *rows])


def alike(one, two):
    """Whether two texts differ at most in spacing, in libraries' versions, and by 1 % in their numbers."""
    texts = [VERSION.sub(r"\1", text) for text in (one, two)]
    words = [NUMBER.sub("#", re.sub(r"[\s─]+", " ", text)) for text in texts]
    numbers = [[float(n) for n in NUMBER.findall(text)] for text in texts]
    return words[0] == words[1] and numbers[0] == pytest.approx(numbers[1], rel=0.01)


# Commands


def test_help_is_what_the_program_prints():
    assert marked("help") == help_text()


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_shown_commands_exist(call):
    command = command_in(call) or "audit"
    known = {name for p in command_named(command).params for name in p.opts if name.startswith("-")}
    assert {word for word in call if word.startswith("-")} <= known
    assert command_in(call) or "." in call[0]


def test_commands_are_shown():
    assert len(CALLS) >= 7


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"`(--[a-z-]+)", README))))
def test_mentioned_flags_exist(flag):
    known = {name for command in COMMANDS for p in command_named(command).params for name in p.opts}
    assert flag in known


def test_the_screen_is_what_the_program_prints(capfd, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main([*CALLS[0], "--device", "cpu"]) == 0
    printed = capfd.readouterr().out
    assert alike(marked("screen"), printed), f"README shows another screen than this:\n{printed}"


def test_the_comparison_shows_what_the_samples_readme_proves():
    """That table is compared with audits below; times and memory are this machine's."""
    screen = marked("compare")
    told = rows_of("What an audit proves")
    names = ["mnist_plain", "mnist_spectral_norm", "mnist_lipschitz"]
    proved, measured = screen.split("\nproved", 1)[1].split("\nmeasured", 1)
    rows = {line.split()[0]: line.replace(" %", "").split()[1:] for line in proved.splitlines()[2:] if line}
    assert list(rows) == names
    for column, name in enumerate(names):
        lower, upper, *shares = map(float, rows[name])
        witness = float(told["witness for the network"][column])
        assert lower == pytest.approx(witness, rel=0.01)
        assert upper == pytest.approx(float(told["bound on the network"][column]), rel=0.01)
        counted = [
            "correct, of 1,000",
            *(f"certified at {eps}" for eps in ("36/255", "72/255", "108/255", "1")),
        ]
        assert [10 * share for share in shares] == pytest.approx([int(told[key][column]) for key in counted])
    for text in (comparison_words.MEASURED, "COMPARED (exit 0: "):
        assert " ".join(text.split()) in " ".join(screen.split())
    assert measured.splitlines()[0].split()[0] == "parameters"


def test_the_layers_defaults_are_those_of_the_table():
    table = README.split("| family | layers | padding, if not given |", 1)[1].split("\n\n", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    told = {
        name: (padding.strip('"'), modes.split(", "), stride)
        for _, names, padding, modes, stride, _ in rows
        for name in re.findall(r"\w+Conv2d", names)
    }
    assert set(told) == {name for name in layers.__all__ if name.endswith("Conv2d")}
    for name, (padding, modes, stride) in told.items():
        kind = getattr(layers, name)
        assert str(inspect.signature(kind).parameters["padding"].default) == padding
        assert list(kind.allowed.padding_modes) == modes
        assert kind.allowed.rearranges == (stride == "rearranges")
        assert kind.allowed.any_padding == (padding == "0")


def test_ci_runs_the_very_command():
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip("no CI script beside the sources")
    (line,) = re.findall(r"^command=.*$", script.read_text(encoding="utf-8"), re.MULTILINE)
    done = subprocess.run(
        ["/bin/bash", "-c", f'{line}\nprintf %s "$command"'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "pytest" in done.stdout
    assert done.stdout + "\n" in BLOCKS


# Tables


def test_exit_codes():
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, re.MULTILINE))
    assert set(rows) == {str(code.value) for code in ExitCode}
    for code in ExitCode:
        assert rows[str(code.value)].startswith(code.meaning)


def test_findings():
    told = dict(re.findall(r"^\| `(LIP\d{3})` \| (\w+) \|", README, re.MULTILINE))
    sources = "".join(p.read_text(encoding="utf-8") for p in Path(lipaudit.__file__).parent.rglob("*.py"))
    assert told == dict(re.findall(r'rule="(LIP\d{3})",\s+level="(\w+)"', sources))


def test_operations():
    table = operations_table()
    assert f"<!-- operations -->\n{table}\n" in README, f"README shows another table than this:\n{table}"


def test_methods():
    rows = [f"| `{method.name}` | {method.summary} |" for method in METHODS]
    table = "\n".join(["| method | bound |", "|---|---|", *rows])
    assert f"<!-- methods -->\n{table}\n" in README, f"README shows another table than this:\n{table}"


def test_rules():
    rows = [f"| `{rule.name}` | {rule.summary.replace('|', '&#124;')} |" for rule in RULES]
    table = "\n".join(["| rule | part |", "|---|---|", *rows])
    assert f"<!-- rules -->\n{table}\n" in README, f"README shows another table than this:\n{table}"


def field_of(model, path):
    """The type behind a dotted path of the report's JSON names."""
    for name in path.split("."):
        fields = {info.serialization_alias or key: info for key, info in model.model_fields.items()}
        model = fields[name].annotation
    return model


def test_formats():
    table = README.split("<!-- formats -->", 1)[1].split("\n\n", 1)[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))
    assert told == {name: ", ".join(f"`{s}`" for s in row.suffixes) for name, row in FORMATS.items()}
    (options,) = (p.help for p in command_named("audit").params if p.name == "output")
    assert f"({', '.join(FORMATS)})" in options


def test_the_workflow_uses_what_the_action_has():
    (job,) = YAML(typ="safe").load(marked("action"))["jobs"].values()
    given = next(step["with"] for step in job["steps"] if "lipaudit" in step["uses"])
    inputs = YAML(typ="safe").load(ROOT / "action.yml")["inputs"]
    assert set(given) <= set(inputs)
    assert all(f"`{name}`" in README for name in inputs)
    known = {name for p in command_named("audit").params for name in p.opts}
    assert {word for word in given["args"].split() if word.startswith("--")} <= known


def test_fields_of_the_report():
    told = re.findall(r"^\| `(evidence\.\w+)` \|", README, re.MULTILINE)
    evidence = field_of(AuditReport, "evidence")
    fields = {info.serialization_alias or key for key, info in evidence.model_fields.items()}
    assert {path.removeprefix("evidence.") for path in told} == fields


def test_words_about_fields_are_fields():
    rows = re.findall(r"^\| `evidence\.\w+` \| (.+) \|$", README, re.MULTILINE)
    words = {word for row in rows for word in re.findall(r"`([a-z_0-9]+)`", row)}
    schema = set(
        re.findall(
            r'"(\w+)":', AuditReport.model_json_schema(mode="serialization").__str__().replace("'", '"')
        )
    )
    assert words <= schema


# Snippets


def test_the_table_of_layers():
    names = set(re.findall(r"`(\w+)`", README[README.index("| family | layers |") :].split("\n\n")[0]))
    assert names == set(layers.__all__) - {"MarginLoss", "freeze", "structure"}


def test_the_python_snippet(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(compile(marked("python"), "README.md", "exec"), {})  # noqa: S102 - our own README
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pass 0"
    assert 0.9 < float(lines[1]) <= 1.0
    assert 80 <= int(lines[2]) <= 100
    assert "Bracket(" in lines[3]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter
def test_the_layers_snippet(monkeypatch, tmp_path, capsys):
    code = marked("layers").replace("sample_models/", f"{ROOT}/sample_models/")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own README
    assert capsys.readouterr().out.splitlines()[-1] == "pass"


def test_the_clipping_snippet(monkeypatch, tmp_path, capsys):
    models.write_network(tmp_path / "model.onnx")
    code = (
        marked("clipping").replace("sample_models/mnist_plain/", "").replace("lipschitz=100", "lipschitz=10")
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own README
    bounds, layers = capsys.readouterr().out.splitlines()
    before, after = map(float, bounds.split())
    assert before > 10 >= after
    assert "conv" in layers
    assert (tmp_path / "clipped.onnx").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter
def test_the_training_snippet(monkeypatch, tmp_path, capsys):
    code = marked("training").replace("sample_models/", f"{ROOT}/sample_models/")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own README
    verdict, constant = capsys.readouterr().out.splitlines()[-1].split()
    assert verdict == "pass"
    assert 0.5 < float(constant) < 4.1


def test_the_metadata_snippet(monkeypatch, tmp_path):
    weight = numpy_helper.from_array(np.ones((3, 784), np.float32), "w")
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w"], ["y"], transB=1)]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 28, 28])
    taken = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph(nodes, "net", [given], [taken], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    monkeypatch.chdir(tmp_path)
    onnx.save(model, "model.onnx")
    exec(compile(marked("metadata onnx"), "README.md", "exec"), {})  # noqa: S102
    stated = lipaudit.load_model("model.onnx").preprocessing
    assert stated is not None
    assert [float(v) for v in (*stated.mean, *stated.std, stated.scale)] == [0.1307, 0.3081, 1]
    assert (stated.layout, stated.input_shape) == ("chw", (1, 28, 28))


def test_the_policy_means_something():
    policy = read_policy(marked("policy").encode("utf-8"), ROOT / "lipaudit.toml")
    clauses = {budget.id for budget in policy.budgets if budget.metric == "require"}
    assert clauses == {f"require.{clause}" for clause in CLAUSES}
    assert {budget.metric for budget in policy.budgets} == set(get_args(Metric))
    assert len(policy.waivers) == len(policy.baselines) == 1


def test_all_metadata_but_the_version_may_be_left_out():
    assert parse_metadata('{"version": 1}').source == "metadata"


@pytest.mark.skipif(not all(map(which, ("jq", "openssl"))), reason="needs jq and openssl")
def test_a_signature_is_checked_without_us(tmp_path):
    private = attestation.RAW["ed25519"]
    text = json.dumps(attestation.envelope())
    (tmp_path / "key.pub.pem").write_bytes(attestation.public_pem_of(private))

    def accepts(envelope):
        (tmp_path / "report.intoto.json").write_text(envelope, encoding="utf-8")
        command = ["/bin/bash", "-c", marked("openssl")]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=60)
        return done.returncode == 0

    assert accepts(text)
    other = attestation.envelope(verdict="fail", budgets=(sample_report.budget("fail"),))
    assert not accepts(json.dumps(other | {"signatures": json.loads(text)["signatures"]}))


# Links and files


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_the_contents_lead_to_every_section():
    """Links within the page; a heading's anchor is what GitHub makes of it."""
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^###? (.+)$", prose, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    contents = README[: README.index("\n## ")]
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors
    assert set(re.findall(r"\]\(#([^)]+)\)", contents)) == anchors - {"licence"}


def test_files_in_commands_exist():
    for path in re.findall(r"sample_models/[\w./*]+\w", README + SAMPLE_README):
        assert any(ROOT.glob(path))


# The other papers


def test_the_changelog_opens_with_our_headings():
    (section,) = re.findall(
        rf"^## {re.escape(lipaudit.__version__)}\b.*?\n(.*?)(?=^## |\Z)", CHANGELOG, re.MULTILINE | re.DOTALL
    )
    assert re.findall(r"^### (.+)$", section, re.MULTILINE)[:2] == ["Soundness", "Tightness"]


def rows_of(table_title):
    """Rows of a table of the samples' README, as lists of cells."""
    table = SAMPLE_README.split(f"## {table_title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [
        [c.strip() for c in line.strip("| ").split("|")]
        for line in table.splitlines()
        if line.startswith("| ")
    ]
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize(
    ("column", "name"), list(enumerate(["mnist_plain", "mnist_spectral_norm", "mnist_lipschitz"]))
)
def test_what_an_audit_of_the_samples_proves(column, name):
    told = rows_of("What an audit proves")
    radii = ("36/255", "72/255", "108/255", "0.5", "1")
    data = f"npz:{SAMPLES / 'mnist_test.npz'}"
    evidence = lipaudit.audit(SAMPLES / name / "model.onnx", dataset=data, eps=radii, attack=False).evidence
    assert float(told["bound on the network"][column]) == pytest.approx(
        evidence.global_.upper.value, rel=0.01
    )
    assert int(told["correct, of 1,000"][column]) == pytest.approx(
        evidence.robustness.clean_accuracy.count, abs=2
    )
    for point in evidence.robustness.curve:
        shown = int(told[f"certified at {point.eps_exact}"][column])
        assert shown == pytest.approx(point.certified_count, abs=3)
    convolutions = [layer.upper.value for layer in evidence.layers if layer.op == "conv2d"]
    shown = [float(n) for n in told["bounds on the convolutions"][column].split(", ")]
    assert shown == pytest.approx(convolutions, rel=0.01)


FAMILY_RADII = ("36/255", "72/255", "108/255", "0.5", "1")
FAMILY_NAMES = sorted(
    path.parent.name for path in SAMPLES.glob("*/arch.py") if "def network" in path.read_text()
)
DATA = ROOT.parent / "shared" / "data"


def family_row(name):
    """The numbers about one network of the samples' README, as texts under the table's headings."""
    rows = rows_of("One network per family")
    return dict(zip(rows["network"], rows[f"`{name}`"], strict=True))


def test_every_family_has_its_row():
    told = {name.strip("`") for name in rows_of("One network per family") if name.startswith("`")}
    assert told == {*FAMILY_NAMES}
    assert len(FAMILY_NAMES) == 11


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_the_sizes_of_the_families(name):
    told = family_row(name)
    trained = runpy.run_path(str(SAMPLES / name / "arch.py"))["network"]()
    assert told["parameters"] == f"{sum(weight.numel() for weight in trained.parameters()):,}"
    assert told["MB"] == f"{(SAMPLES / name / 'model.onnx').stat().st_size / 1e6:.1f}"


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_what_an_audit_of_a_family_proves(name):
    data = name.split("_", 1)[0]
    if not (DATA / data).exists():
        pytest.skip(f"no {data} beside the sources")
    told = family_row(name)
    evidence = lipaudit.audit(
        SAMPLES / name / "model.onnx", dataset=data, data_dir=DATA, eps=FAMILY_RADII
    ).evidence
    assert evidence.findings == ()
    assert evidence.falsification.hits == 0
    assert evidence.global_.lower.value <= evidence.global_.upper.value <= 1.001
    assert float(told["constant ≤"]) == pytest.approx(evidence.global_.upper.value, rel=1e-5)
    assert float(told["clean"]) == pytest.approx(evidence.robustness.clean_accuracy.count / 100, abs=0.03)
    for point in evidence.robustness.curve:
        assert float(told[point.eps_exact]) == pytest.approx(point.certified_count / 100, abs=0.03)

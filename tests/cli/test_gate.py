"""`gate`: a stored report judged again, end to end, without torch."""

import json
import subprocess
import sys

import pytest
import sample_report as sample

from lipaudit.bound import Bound, Estimate
from lipaudit.cli import outputs
from lipaudit.errors import UsageError
from lipaudit.report.canonical import from_json, sealed, to_json
from lipaudit.report.inputs import AssumptionRecord
from lipaudit.report.model import NetworkBracket, SampleRecord, Tally

LIMIT = '[[budget]]\nmetric = "lipschitz"\nmax = {}\n'
WAIVER = '[[waiver]]\nbudget = "lipschitz"\nreason = "r"\nowner = "o"\nexpires = 2999-06-01\n'
BEFORE, AFTER = "32485222800", "32485309200"  # 2999-06-01 and 2999-06-02, 09:00 UTC


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", BEFORE)
    (tmp_path / "report.json").write_text(to_json(sealed(sample.report())), encoding="utf-8")
    return tmp_path


def store(here, name="report.json", **changes):
    (here / name).write_text(to_json(sealed(sample.report(**changes))), encoding="utf-8")


def write(here, text, name="lipaudit.toml"):
    (here / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("limit", "code", "word"), [("20", 0, "PASS"), ("10", 1, "INCONCLUSIVE"), ("4", 1, "FAIL")]
)
@pytest.mark.usefixtures("here")
def test_by_flags(run, limit, code, word):
    done = run("gate", "report.json", "--max-lipschitz", limit)
    assert done.code == code
    assert done.out.splitlines()[-1].startswith(f"{word} (exit {code}: ")
    assert done.err == ""


def unsealed(here, **changes):
    document = json.loads(to_json(sealed(sample.report()))) | changes
    document["evidence_sha256"] = None
    (here / "report.json").write_text(json.dumps(document), encoding="utf-8")


def test_a_digest_that_was_taken_out_is_missed(run, here):
    unsealed(here)
    for command in (
        ["gate", "report.json", "--max-lipschitz", "20"],
        ["convert", "report.json", "-o", "md=-"],
    ):
        done = run(*command)
        assert done.code == 4
        assert "carries no digest" in done.err
    write(here, '[[budget]]\nmetric = "lipschitz"\nbaseline = "report.json"\nmax_increase = 0\n')
    store(here, "other.json")
    assert run("gate", "other.json").code == 4


def test_an_old_report_without_a_digest_is_never_green_nor_sealed(run, here):
    unsealed(here, schema_version="1.0")
    done = run("gate", "report.json", "--max-lipschitz", "20", "-o", "out.json")
    assert done.code == 3
    assert "LIP308" in done.out
    assert json.loads((here / "out.json").read_text("utf-8"))["evidence_sha256"] is None
    again = run("gate", "out.json", "--max-lipschitz", "20", "-o", "again.json")
    assert (again.code, again.out.count("LIP308")) == (3, done.out.count("LIP308")), "said once, never green"
    assert (here / "again.json").read_bytes() == (here / "out.json").read_bytes()
    assert run("gate", "report.json", "--max-lipschitz", "4").code == 1


RATCHET = '[[budget]]\nmetric = "lipschitz"\nbaseline = "base.json"\nmax_increase = "2%"\n'


def test_no_report_replaces_what_it_is_judged_by(run, here):
    write(here, RATCHET)
    store(here, "base.json")
    before = {path: path.read_bytes() for path in here.iterdir()}
    for place, what in (
        ("base.json", "a baseline of the policy"),
        ("json=lipaudit.toml", "the policy itself"),
    ):
        done = run("gate", "report.json", "-o", place)
        assert done.code == 2
        assert what in done.err
    assert {path: path.read_bytes() for path in here.iterdir()} == before
    assert run("gate", "report.json", "-o", "other.json").code == 0


def test_a_report_is_not_compared_with_itself(run, here):
    write(here, RATCHET)
    store(here, "base.json")
    (here / "link.json").symlink_to("base.json")
    for name in ("base.json", "link.json"):
        done = run("gate", name)
        assert done.code == 2
        assert "compared with itself" in done.err


def test_by_the_closest_policy_and_flags_on_top(run, here):
    write(here, LIMIT.format(20))
    assert run("gate", "report.json").code == 0
    done = run("gate", "report.json", "--max-lipschitz", "4")
    assert done.code == 1
    assert "FAIL  lipschitz (flag): 4.5625 witnessed, 4 allowed" in done.out
    assert run("gate", "report.json", "--no-policy", "--max-lipschitz", "20").code == 0


def test_a_named_policy_replaces_the_closest(run, here):
    write(here, "nonsense")
    write(here, LIMIT.format(4), "other.toml")
    assert run("gate", "report.json", "--policy", "other.toml").code == 1
    assert run("gate", "report.json").code == 2
    assert run("gate", "report.json", "--policy", "none.toml").code == 5
    assert run("gate", "report.json", "--policy", "other.toml", "--no-policy").code == 2


@pytest.mark.parametrize("text", [None, "", "# nothing\n"])
def test_nothing_to_judge_by_is_a_usage_error(run, here, text):
    if text is not None:
        write(here, text)
    done = run("gate", "report.json")
    assert done.code == 2
    assert "nothing to judge" in done.err


def test_a_broken_policy_is_told_with_its_line(run, here):
    write(here, "[[budget]]\nmetric = 'lipshitz'\n")
    done = run("gate", "report.json")
    assert done.code == 2
    assert f"{here / 'lipaudit.toml'}:2: " in done.err
    assert "did you mean 'lipschitz'?" in done.err


def test_certified_counts_come_from_the_samples(run, here):
    rows = tuple(
        SampleRecord(index=k, label=1, predicted=1, margin=1.0, radius=k / 8, correct=k > 0) for k in range(8)
    )
    radii = sample.robustness(clean_accuracy=Tally(count=7, n=8), curve=(), samples=rows)
    store(here, robustness=radii)
    assert run("gate", "report.json", "--min-certified", "0.5:3/8").code == 0
    assert run("gate", "report.json", "--min-certified", "0.49:1/2").code == 0
    done = run("gate", "report.json", "--min-certified", "0.5:1/2")
    assert done.code == 1
    assert "3 of 8 (37.50 %) certified at 0.5" in done.out
    store(here, robustness=radii.model_copy(update={"samples": None}))
    done = run("gate", "report.json", "--min-certified", "0.5:3/8")
    assert (done.code, "stores no samples" in done.out) == (1, True)


def test_waivers_are_judged_today(run, here, monkeypatch):
    write(here, LIMIT.format(4) + WAIVER)
    done = run("gate", "report.json")
    assert done.code == 0
    assert "PASS with 1 budget waived (exit 0" in done.out
    assert "waived until 2999-06-01 by o: r\n" in done.out
    assert "LIP403" not in done.out  # it would say the same
    monkeypatch.setenv("SOURCE_DATE_EPOCH", AFTER)
    done = run("gate", "report.json")
    assert done.code == 1
    assert "LIP401" in done.out
    assert "EXPIRED  waiver of lipschitz until 2999-06-01 by o\n" in done.out
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    assert run("gate", "report.json").code == 2


def test_the_report_as_judged_is_written_and_judged_alike(run, here):
    write(here, LIMIT.format(4) + "[require]\nmin_samples = 5\n")
    assert run("gate", "report.json", "-o", "again.json", "-o", "text=again.txt").code == 1
    first = from_json((here / "again.json").read_text(encoding="utf-8"))
    assert (first.verdict, first.exit_code) == ("fail", 1)
    assert first.evidence.policy.name == "lipaudit.toml"
    assert [b.line for b in first.evidence.budgets] == [1, 5]
    assert first.run == sample.report().run
    assert "FAIL (exit 1" in (here / "again.txt").read_text(encoding="utf-8")
    assert run("gate", "again.json", "-o", "twice.json").code == 1
    assert (here / "twice.json").read_bytes() == (here / "again.json").read_bytes()


@pytest.mark.usefixtures("here")
def test_json_on_stdout(run):
    done = run("gate", "report.json", "--max-lipschitz", "4", "-o", "json=-")
    assert json.loads(done.out)["verdict"] == "fail"
    assert done.err.startswith("FAIL (exit 1")


def test_annotations_point_at_the_line_of_the_policy(run, here, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(here))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here / "summary.md"))
    write(here, "\n" + LIMIT.format(4))
    done = run("gate", "report.json")
    assert done.code == 1
    assert "::error file=lipaudit.toml,line=2," in done.err
    assert "lipschitz" in (here / "summary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("options", [[], ["-q"], ["-o", "json=-"]])
@pytest.mark.usefixtures("here")
def test_a_failed_write_is_the_end(run, monkeypatch, options):
    written = outputs._write_one

    def full(target, report):
        if target.path is not None:
            raise UsageError("no space left")
        written(target, report)

    monkeypatch.setattr(outputs, "_write_one", full)
    done = run("gate", "report.json", "--max-lipschitz", "20", "-o", "again.json", *options)
    assert done.code == 2
    screen = done.err if "json=-" in options else done.out
    assert "NOT WRITTEN (exit 2: usage, config or policy error)" in screen.splitlines()
    assert "(exit 0" not in done.out + done.err


@pytest.mark.usefixtures("here")
def test_quiet_is_the_verdict_alone(run):
    done = run("gate", "report.json", "--max-lipschitz", "4", "-q")
    assert done.out == "FAIL: budget lipschitz (exit 1: a budget fails, or stays inconclusive)\n"
    assert run("gate", "report.json", "--max-lipschitz", "20", "-q").out.startswith("PASS (exit 0: ")


@pytest.mark.usefixtures("here")
def test_colour_is_asked_for_as_at_an_audit(run):
    command = ["gate", "report.json", "--max-lipschitz", "4"]
    done = run(*command, "--color", "always")
    assert done.out.count("\x1b[1;31mFAIL\x1b[0m") == 2
    assert "\x1b[1;31mFAIL" in run(*command, "--color", "always", "-o", "json=-").err
    assert "\x1b" not in run(*command, "--color", "never").out + run(*command).out
    assert run(*command, "--color", "blue").code == 2


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (["convert", "report.json"], "`lipaudit convert --help` lists every option"),
        (["policy", "check"], "`lipaudit policy check --help` lists every option"),
        (["m.onnx"], "`lipaudit --help-all` lists every option"),
    ],
)
@pytest.mark.usefixtures("here")
def test_the_hint_names_the_help_of_the_command(run, command, hint):
    done = run(*command, "--colours", "always")
    assert done.code == 2
    assert f"hint: {hint}\n" in done.err


def test_a_gate_tells_what_would_help(run, here):
    store(here, "base.json")
    write(here, '[[budget]]\nmetric = "lipschitz"\nbaseline = "base.json"\nmax_increase = "0%"\n')
    worse = NetworkBracket.of(Bound(16.0, "product"), Estimate(4.5, "ascent"))
    store(here, global_=worse)
    assert "`lipaudit diff base.json REPORT` tells what moved" in run("gate", "report.json").out


def test_the_report_itself_is_not_replaced(run, here):
    before = (here / "report.json").read_bytes()
    done = run("gate", "report.json", "--max-lipschitz", "4", "-o", "json=./report.json")
    assert done.code == 2
    assert "the report itself" in done.err
    assert (here / "report.json").read_bytes() == before


def test_an_assumed_preprocessing_is_asked_for(run, here):
    found = AssumptionRecord(
        convention="[0,1] chw",
        correct=9,
        samples=9,
        runner_up=None,
        runner_up_correct=0,
        runner_up_samples=0,
        clear=True,
    )
    how = sample.evidence().preprocessing.model_copy(update={"assumption": found})
    store(here, preprocessing=how)
    done = run("gate", "report.json", "--max-lipschitz", "4")
    assert done.code == 3
    assert "--mean 0.1307 --std 0.3081 --layout chw" in done.out


def test_an_incomplete_report_stays_so(run, here):
    store(here, verdict="incomplete", findings=(sample.finding("error"),))
    assert run("gate", "report.json", "--max-lipschitz", "20").code == 3
    assert run("gate", "report.json", "--max-lipschitz", "4").code == 1


def test_a_ratchet(run, here):
    write(here, '[[budget]]\nmetric = "lipschitz"\nbaseline = "base.json"\nmax_increase = "2%"\n')
    done = run("gate", "report.json")
    assert (done.code, "no such baseline" in done.err) == (5, True)
    (here / "base.json").write_bytes((here / "report.json").read_bytes())
    done = run("gate", "report.json")
    assert done.code == 0
    assert "2% above the 15.25 of base.json" in " ".join(done.out.split())
    (here / "base.json").write_text("{}")
    assert run("gate", "report.json").code == 4


def test_a_changed_report_is_refused(run, here):
    text = (here / "report.json").read_text(encoding="utf-8").replace('"hits": 0', '"hits": 1')
    (here / "report.json").write_text(text, encoding="utf-8")
    assert run("gate", "report.json", "--max-lipschitz", "20").code == 4
    assert run("gate", "none.json", "--max-lipschitz", "20").code == 5


def test_names_cannot_forge_lines(run, here):
    evil = sample.conv(1).model_copy(update={"name": "x\nPASS (exit 0\x1b[2J"})
    store(here, layers=(evil,))
    write(here, '[[budget]]\nmetric = "lipschitz"\nlayers = ["x*"]\nmax = 1\n')
    done = run("gate", "report.json")
    assert done.code == 1
    assert "\x1b" not in done.out
    assert not any(line.startswith("PASS") for line in done.out.splitlines())


@pytest.mark.usefixtures("here")
def test_gate_loads_no_torch():
    program = (
        "import sys\nfrom lipaudit.cli import main\n"
        "main(['gate', 'report.json', '--max-lipschitz', '20'])\n"
        "main(['diff', 'report.json', 'report.json'])\n"
        "main(['policy', 'init'])\nmain(['policy', 'check'])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert not set(done.stderr.split()) & {"torch", "numpy", "onnx", "onnxruntime"}
    assert "PASS" in done.stdout


def test_an_audit_takes_the_closest_policy(run, pipeline, model, here):
    write(here, LIMIT.format(20))
    assert run(model).code == 0
    assert run(model, "--no-policy").code == 0
    found, none = (call["policy"] for call in pipeline.calls)
    assert [b.id for b in found.budgets] == ["lipschitz"]
    assert none is None


def test_an_audit_checks_its_policy_first(run, pipeline, model, here):
    write(here, '[[budget]]\nmetric = "clean_accuracy"\nmin = 1\n')
    done = run(model)
    assert done.code == 2
    assert "lipaudit.toml:1: budget 'clean_accuracy' counts samples" in done.err
    write(here, "[[budget]]\n")
    assert run(model).code == 2
    assert run(model, "--policy", "none.toml").code == 5
    assert run(model, "--policy", "none.toml", "--memory", "few").code == 2
    assert pipeline.calls == []


@pytest.mark.parametrize(
    ("started", "expires"),
    [
        ("2999-01-31T10:00:00+00:00", "2999-01-30"),  # audited on the day after
        ("2020-01-01T10:00:00+00:00", "2020-01-31"),  # ended by the clock
        ("1970-01-01T00:00:00+00:00", "2020-01-31"),  # the report may say what it likes
        ("never", "2020-01-31"),
    ],
)
def test_no_variable_revives_a_waiver(run, here, monkeypatch, started, expires):
    write(here, LIMIT.format(4) + WAIVER.replace("2999-06-01", expires))
    document = json.loads(to_json(sealed(sample.report())))
    document["run"]["started"] = started  # outside the digest
    write(here, json.dumps(document), "report.json")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1500000000")
    done = run("gate", "report.json")
    assert done.code == 1
    assert "LIP401" in done.out
    assert f"EXPIRED  waiver of lipschitz until {expires} by o\n" in done.out


def test_what_is_no_report_is_told_before_that_there_is_no_budget(run, here):
    (here / "model.onnx").write_bytes(b"\x08\x07\x12\xff")
    done = run("gate", "model.onnx")
    assert done.code == 4
    assert "model.onnx is no report" in done.err
    assert run("gate", "missing.json").code == 5

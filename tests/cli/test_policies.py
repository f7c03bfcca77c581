"""`policy init`, `policy check` and `baseline update`."""

import json
from datetime import date

import pytest
import sample_report as sample

from lipaudit.bound import Bound, Estimate
from lipaudit.policy.template import template
from lipaudit.report.canonical import from_json, sealed, to_json
from lipaudit.report.model import NetworkBracket, Tally

RATCHET = '[[budget]]\nid = "r"\nmetric = "lipschitz"\nbaseline = "base.json"\nmax_increase = "2%"\n'
WAIVER = '[[waiver]]\nbudget = "r"\nreason = "why not"\nowner = "me"\nexpires = {}\n'


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "32485222800")  # 2999-06-01
    return tmp_path


def store(name="report.json", upper=15.25, verdict="pass", **changes):
    network = NetworkBracket.of(Bound(upper, "m", "why"), Estimate(1.0, "w"))
    report = sealed(sample.report(verdict, global_=network, **changes))
    with open(name, "w", encoding="utf-8") as stream:  # noqa: PTH123 -- relative to the test's folder
        stream.write(to_json(report))
    return report


def test_what_has_no_digest_is_no_baseline(run, here):
    (here / "lipaudit.toml").write_text(RATCHET)
    document = json.loads(to_json(store())) | {"schema_version": "1.0", "evidence_sha256": None}
    (here / "report.json").write_text(json.dumps(document))
    done = run("baseline", "update", "report.json")
    assert done.code == 4
    assert "no digest" in done.err
    assert not (here / "base.json").exists()


def test_a_baseline_without_a_digest_decides_nothing(run, here):
    """It may have been edited: every limit that was written into it would pass."""
    (here / "lipaudit.toml").write_text(RATCHET)
    old = json.loads(to_json(store("base.json"))) | {"schema_version": "1.0", "evidence_sha256": None}
    (here / "base.json").write_text(json.dumps(old))
    store()
    done = run("gate", "report.json")
    assert done.code == 1
    assert "it carries no digest" in " ".join(done.out.split())
    done = run("baseline", "update", "report.json")
    assert done.code == 2
    assert "it carries no digest" in done.out
    assert run("baseline", "update", "report.json", "--allow-increase").code == 0
    assert run("gate", "report.json").code == 0


def test_a_layer_that_is_gone_loosens_the_ratchet(run, here):
    (here / "lipaudit.toml").write_text(RATCHET + 'layers = ["conv*"]\n')
    store("base.json")
    store(layers=sample.evidence().layers[:3])
    done = run("baseline", "update", "report.json")
    assert done.code == 2
    assert "conv3: the layer is gone (allows more)" in done.out
    assert run("baseline", "update", "report.json", "--allow-increase").code == 0


def test_init_writes_once(run, here):
    done = run("policy", "init")
    assert done.code == 0
    assert (here / "lipaudit.toml").read_text(encoding="utf-8") == template(date(2999, 8, 30))
    assert "#expires = 2999-08-30\n" in template(date(2999, 8, 30)), "ninety days ahead"
    (here / "lipaudit.toml").write_text("mine")
    assert run("policy", "init").code == 2
    assert (here / "lipaudit.toml").read_text() == "mine"
    assert run("policy", "init", "other.toml").code == 0
    assert run("policy", "init", "none/other.toml").code == 2
    assert run("policy", "check", "other.toml").code == 0


def test_check_says_what_is_asked_for(run, here):
    (here / "lipaudit.toml").write_text(
        RATCHET + '[[budget]]\nmetric = "clean_accuracy"\nmin = "95%"\n[require]\nattacked = true\n'
    )
    done = run("policy", "check")
    assert done.code == 5  # the baseline is missing: an audit would end with it
    assert "no such baseline" in done.err
    words = " ".join(done.out.split())
    assert "2 budgets, 1 requirement, 0 waivers" in words
    assert "line 1 r: the l2 Lipschitz constant of the network is at most 2% above that in base.json" in words
    assert "base.json is missing" in words
    assert "line 6 clean_accuracy: at least 95% of the samples are classified correctly" in words
    assert "line 10 require.attacked" in words


def test_check_tells_things_in_the_order_of_the_file(run, here):
    fall = '[[budget]]\nid = "{}"\nmetric = "clean_accuracy"\nbaseline = "base.json"\nmax_decrease = {}\n'
    texts = ["[require]\nattacked = true\n", WAIVER.format("2999-07-02"), RATCHET]
    (here / "lipaudit.toml").write_text("".join([*texts, fall.format("a", '"1%"'), fall.format("b", 0)]))
    store("base.json")
    done = run("policy", "check")
    rows = [row.split() for row in done.out.splitlines() if row.startswith("  line")]
    assert [row[1] for row in rows] == ["2", "3", "8", "13", "18"]
    words = " ".join(done.out.split())
    assert "a: the share of samples classified correctly is at most 1% of all samples below that in" in words
    assert "b: the share of samples classified correctly is not at all below that in base.json" in words


def test_check_tells_what_the_baseline_says(run, here):
    (here / "lipaudit.toml").write_text(RATCHET + RATCHET.replace('"r"', '"each"') + 'layers = ["conv*"]\n')
    store("base.json")
    done = run("policy", "check")
    words = " ".join(done.out.split())
    assert "base.json says 15.25 line" in words
    assert "base.json says conv0 1.5, conv1 1.64285715, " in words
    assert max(map(len, done.out.splitlines())) <= 96 + len(str(here))
    (here / "base.json").write_text("{}")
    assert run("policy", "check").code == 4


@pytest.mark.parametrize(
    ("day", "told"),
    [
        ("2999-05-31", "EXPIRED on 2999-05-31"),
        ("2999-06-01", "EXPIRES SOON, on 2999-06-01 (0 days left)"),
        ("2999-07-01", "EXPIRES SOON, on 2999-07-01 (30 days left)"),
        ("2999-07-02", "until 2999-07-02 (31 days left)"),
    ],
)
def test_check_calls_out_waivers(run, here, day, told):
    (here / "lipaudit.toml").write_text(RATCHET + WAIVER.format(day))
    store("base.json")
    done = run("policy", "check")
    assert done.code == 0
    words = " ".join(done.out.split())
    assert told in words
    assert "me: why not" in words


def test_no_variable_revives_a_waiver(run, here, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1500000000")
    other = '[[budget]]\nid = "c"\nmetric = "clean_accuracy"\nmin = 1\n'
    (here / "lipaudit.toml").write_text(
        RATCHET + other + WAIVER.format("2020-01-31").replace('"r"', '"c"', 1)
    )
    store()
    assert "EXPIRED on 2020-01-31" in run("policy", "check").out
    done = run("baseline", "update", "report.json")
    assert done.code == 4
    assert "c: 9812 of 10000" in " ".join(done.err.split())
    (here / "lipaudit.toml").write_text(
        RATCHET + other + WAIVER.format("2999-01-31").replace('"r"', '"c"', 1)
    )
    assert run("baseline", "update", "report.json").code == 0


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_check_warns_of_a_policy_that_asks_for_nothing(run, here, text):
    (here / "lipaudit.toml").write_text(text)
    done = run("policy", "check")
    assert done.code == 0
    assert "sets no budget and no requirement" in done.err


def test_check_refuses_what_cannot_be_meant(run, here):
    assert run("policy", "check").code == 5
    (here / "lipaudit.toml").write_text("[[budget]]\nmetric = 5\n")
    done = run("policy", "check")
    assert done.code == 2
    assert "lipaudit.toml:2: " in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["policy"], "`lipaudit policy init` or `lipaudit policy check`"),
        (["policy", "chek"], "did you mean `lipaudit policy check`?"),
        (["baseline"], "`lipaudit baseline update`"),
        (["baseline", "--policy", "x"], "`lipaudit baseline update`"),
        (["policies"], "did you mean `lipaudit policy`?"),
    ],
)
@pytest.mark.usefixtures("here")
def test_commands_of_two_words(run, words, told):
    done = run(*words)
    assert done.code == 2
    assert told in done.err


def test_help_of_a_first_word_shows_all_its_commands(run):
    text = run("policy", "--help").out
    assert "lipaudit policy init [FILE]" in text
    assert "lipaudit policy check [FILE]" in text
    assert run("policy", "check", "-h").out in text


# The baseline of a ratchet


def test_a_first_baseline_is_written_as_it_is(run, here):
    (here / "lipaudit.toml").write_text(RATCHET)
    report = store()
    done = run("baseline", "update", "report.json")
    assert done.code == 0
    assert "r: no baseline yet → 15.25" in done.out
    assert from_json((here / "base.json").read_text(encoding="utf-8")) == report
    assert run("gate", "report.json").code == 0


@pytest.mark.parametrize(
    ("place", "told"), [("lipaudit.toml", "the policy itself"), ("report.json", "the report itself")]
)
def test_no_baseline_replaces_what_it_is_judged_by(run, here, place, told):
    policy = RATCHET.replace("base.json", place)
    (here / "lipaudit.toml").write_text(policy)
    store()
    done = run("baseline", "update", "report.json")
    assert done.code == 2
    assert told in done.err
    assert (here / "lipaudit.toml").read_text() == policy


def test_a_lower_bound_moves_the_ratchet(run, here):
    (here / "lipaudit.toml").write_text(RATCHET)
    store("base.json", 20.0)
    store()
    done = run("baseline", "update", "report.json")
    assert done.code == 0
    assert "r: 20 → 15.25" in done.out


def test_an_equal_report_leaves_the_baseline_as_it_is(run, here):
    """The same evidence, laid out otherwise and of another run: nothing to replace, and that is said."""
    (here / "lipaudit.toml").write_text(RATCHET)
    text = to_json(store("base.json"))
    (here / "base.json").write_text(json.dumps(json.loads(text)), encoding="utf-8")
    kept = (here / "base.json").read_bytes()
    report = store()
    other = report.model_copy(update={"run": report.run.model_copy(update={"seconds": 99.0})})
    (here / "report.json").write_text(to_json(other), encoding="utf-8")
    done = run("baseline", "update", "report.json")
    assert (done.code, (here / "base.json").read_bytes()) == (0, kept)
    assert done.out.splitlines() == [
        "r: 15.25 → 15.25 (unchanged)",
        f"unchanged {here / 'base.json'}: it has the same evidence",
    ]


def test_other_evidence_with_the_same_number_is_written(run, here):
    (here / "lipaudit.toml").write_text(RATCHET)
    store("base.json")
    new = store(limitations=("Another sentence.",))
    done = run("baseline", "update", "report.json")
    assert done.out.splitlines() == ["r: 15.25 → 15.25 (unchanged)", f"wrote {here / 'base.json'}"]
    assert from_json((here / "base.json").read_text(encoding="utf-8")) == new


def test_layers_that_stay_are_counted(run, here):
    (here / "lipaudit.toml").write_text(RATCHET + 'layers = ["conv*"]\n')
    larger = sample.conv(3).model_copy(update={"name": "conv1"})
    store("base.json", layers=(sample.conv(0), sample.conv(2), larger))
    store(layers=(sample.conv(0), sample.conv(2), sample.conv(1)))
    done = run("baseline", "update", "report.json")
    assert done.out.splitlines()[:2] == [
        "r at conv1: 1.92857143 → 1.64285715",
        "r: 2 layers unchanged",
    ]


@pytest.mark.parametrize("upper", [15.375, 99.0])
def test_a_limit_never_rises_without_a_word(run, here, upper):
    """Not by the step either: two per cent each time are no ratchet."""
    (here / "lipaudit.toml").write_text(RATCHET)
    old = store("base.json")
    store(upper=upper)
    done = run("baseline", "update", "report.json")
    assert done.code == 2
    assert f"r: 15.25 → {upper:g} (allows more)" in done.out
    assert from_json((here / "base.json").read_text(encoding="utf-8")) == old
    assert run("baseline", "update", "report.json", "--allow-increase").code == 0
    assert from_json((here / "base.json").read_text(encoding="utf-8")).evidence.global_.upper.value == upper


def test_a_renamed_layer_does_not_slip_off_its_ratchet(run, here):
    (here / "lipaudit.toml").write_text(RATCHET + 'layers = ["conv*"]\n')
    store("base.json", layers=(sample.conv(1),))
    store(layers=(sample.conv(1), sample.conv(2)))
    done = run("baseline", "update", "report.json")
    assert done.code == 2
    assert "r at conv2: none → 1.78571429 (allows more)" in done.out
    assert run("baseline", "update", "report.json", "--allow-increase").code == 0


def test_a_ratchet_of_layers_that_are_not_there(run, here):
    (here / "lipaudit.toml").write_text(RATCHET + 'layers = ["cnv*"]\n')
    store()
    done = run("baseline", "update", "report.json")
    assert (done.code, "no layer is called 'cnv*'" in done.err) == (2, True)


def test_fewer_correct_answers_allow_more(run, here):
    (here / "lipaudit.toml").write_text(
        '[[budget]]\nmetric = "clean_accuracy"\nbaseline = "base.json"\nmax_decrease = 0\n'
    )
    store("base.json")
    store(robustness=sample.robustness(clean_accuracy=Tally(count=9811, n=10_000), curve=()))
    assert run("baseline", "update", "report.json").code == 2
    store(robustness=sample.robustness(clean_accuracy=Tally(count=9813, n=10_000), curve=()))
    assert run("baseline", "update", "report.json").code == 0


def test_a_baseline_of_other_data_is_replaced_only_on_request(run, here):
    (here / "lipaudit.toml").write_text(
        '[[budget]]\nmetric = "clean_accuracy"\nbaseline = "base.json"\nmax_decrease = 0\n'
    )
    store("base.json", dataset=sample.evidence().dataset.model_copy(update={"fingerprint_sha256": "f" * 64}))
    store()
    done = run("baseline", "update", "report.json")
    assert done.code == 2
    assert "cannot be compared" in done.out
    assert run("baseline", "update", "report.json", "--allow-increase").code == 0


@pytest.mark.parametrize(
    ("more", "changes"),
    [
        ("", {"verdict": "incomplete", "findings": (sample.finding("error"),)}),
        ("", {"upper": float("inf"), "verdict": "incomplete"}),
        ('[[budget]]\nmetric = "slack"\nmax = 2\n', {}),
        ("[require]\nmin_samples = 10001\n", {}),
    ],
)
def test_a_report_that_answers_for_nothing_is_no_baseline(run, here, more, changes):
    (here / "lipaudit.toml").write_text(RATCHET + more)
    store(**changes)
    done = run("baseline", "update", "report.json", "--allow-increase")
    assert done.code == 4
    assert "no baseline" in done.err
    assert not (here / "base.json").exists()


def test_what_a_waiver_excuses_is_told_of_a_baseline(run, here):
    other = '[[budget]]\nid = "c"\nmetric = "clean_accuracy"\nmin = 1\n'
    waivers = "".join(WAIVER.format(day).replace('"r"', '"c"', 1) for day in ("2999-07-02", "2999-07-01"))
    (here / "lipaudit.toml").write_text(RATCHET + other + waivers)
    store()
    done = run("baseline", "update", "report.json")
    assert done.code == 0
    assert done.out.splitlines()[1:] == [
        "1 budget waived until 2999-07-01: c",
        "wrote " + str(here / "base.json"),
    ]


def test_a_policy_without_a_ratchet_has_no_baseline(run, here):
    (here / "lipaudit.toml").write_text('[[budget]]\nmetric = "lipschitz"\nmax = 99\n')
    store()
    assert run("baseline", "update", "report.json").code == 2


def test_the_baseline_is_not_its_own_report(run, here):
    (here / "lipaudit.toml").write_text(RATCHET)
    store("base.json")
    assert run("baseline", "update", "base.json").code == 2

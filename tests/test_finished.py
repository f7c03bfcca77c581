"""Ctrl-C at every step of an audit: what is kept is true, and nothing claims to be the whole."""

from fractions import Fraction

import pytest
import tiny_models as tiny

import lipaudit
from lipaudit.cli import main
from lipaudit.report import from_json, to_json, to_text
from lipaudit.report.interruption import Interrupted

SAMPLES = 30
CHUNK = 8


class Watch:
    """Presses Ctrl-C at a step of a stage (0: as the stage begins), and counts the steps of all stages."""

    def __init__(self, name=None, step=0):
        self.wanted, self.seen = (name, step), {}

    def stage(self, name, _total):
        self.name = name
        self.seen.setdefault(name, 0)
        self._press(name, 0)

    def advance(self, _n=1):
        self.seen[self.name] += 1
        self._press(self.name, self.seen[self.name])

    def _press(self, *reached):
        if reached == self.wanted:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    model, data = tiny.write_onnx(folder / "m.onnx"), tiny.write_samples(folder / "s.npz", SAMPLES)

    def run(progress, **options):
        given = {"max_lipschitz": 2, "min_certified": "0.5:0.5", **options}
        return lipaudit.audit(model, dataset=data, device="cpu", progress=progress, **given)

    return run


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr("lipaudit.certify.dataset.CHUNK_CELLS", CHUNK * 4)


@pytest.fixture(scope="module")
def whole(audit):
    return audit(None)


def stopped(audit, *place, **options):
    with pytest.raises(Interrupted) as caught:
        audit(Watch(*place), **options)
    return caught.value.report


PLACES = [
    ("bounding layers", 1),
    ("looking for structure", 0),
    ("looking for structure", 1),
    ("bounding the curvature", 0),
    ("certifying", 0),
    ("certifying", 1),
    ("certifying", 3),
    ("asking the original program", 0),
    ("asking the original program", 1),
    ("attacking the claims", 0),
]


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_what_is_kept_is_true_and_no_more(audit, whole, place):
    report = stopped(audit, *place)
    found, full = report.evidence, whole.evidence
    assert (report.verdict, report.exit_code) == ("incomplete", 130)
    assert {budget.outcome for budget in found.budgets} == {"inconclusive"}
    (finding,) = [f for f in found.findings if f.rule == "LIP307"]
    assert finding.level == "error"
    assert place[0] in finding.message

    assert found.layers == tuple(
        layer.model_copy(update={"variance": None}) for layer in full.layers[: len(found.layers)]
    )
    if len(found.layers) < len(full.layers):
        assert found.global_.upper.status == "not_analysed"
        assert found.robustness is None
    else:
        assert found.global_.upper == full.global_.upper
    assert found.global_.lower.status == "not_analysed"
    assert found.falsification is None

    counted = 0 if found.robustness is None else found.robustness.clean_accuracy.n
    assert found.dataset.num_evaluated == counted
    assert found.dataset.total == SAMPLES
    if found.robustness is not None:
        assert found.robustness.samples == full.robustness.samples[:counted]
        for point in found.robustness.curve:
            radii = [s.radius for s in found.robustness.samples]
            assert point.n == counted
            assert point.certified_count == sum(Fraction(r) >= Fraction(point.eps_exact) for r in radii)
    assert any("interrupted" in text.lower() for text in found.limitations)


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_such_a_report_reads_and_shows(audit, place):
    report = stopped(audit, *place)
    assert from_json(to_json(report)) == report
    lines = to_text(report).splitlines()
    assert lines[-1] == "INCOMPLETE (exit 130: interrupted)"
    assert "100.00 %" not in to_text(report) or report.evidence.robustness is not None


@pytest.mark.parametrize(("step", "samples"), [(0, 0), (1, CHUNK), (3, 3 * CHUNK)])
def test_samples_are_kept_by_the_chunk(audit, step, samples):
    report = stopped(audit, "certifying", step)
    assert report.evidence.dataset.num_evaluated == samples
    assert f"{samples} of {SAMPLES} samples evaluated" in report.evidence.findings[-1].message


def test_unasked_answers_are_told(audit):
    text = " ".join(stopped(audit, "certifying", 2).evidence.limitations)
    assert f"asked about {2 * CHUNK} of {2 * CHUNK} samples" in text
    text = " ".join(stopped(audit, "attacking the claims", 0).evidence.limitations)
    assert "original program" not in text


@pytest.mark.parametrize(
    "place", [("loading data", 0), ("loading model", 0), ("bounding layers", 0)], ids=str
)
def test_before_anything_is_proved_nothing_is_kept(audit, place):
    with pytest.raises(KeyboardInterrupt) as caught:
        audit(Watch(*place))
    assert not isinstance(caught.value, Interrupted)


def test_a_second_interruption_ends_at_once(audit, monkeypatch):
    def again(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lipaudit.pipeline.Evidence", again)
    with pytest.raises(KeyboardInterrupt) as caught:
        audit(Watch("certifying", 1))
    assert not isinstance(caught.value, Interrupted)


def test_every_stage_is_interrupted_here(audit):
    watch = Watch()
    audit(watch)
    kept = {name for name, _ in PLACES}
    assert set(watch.seen) == {"loading data", "loading model", "finding the preprocessing", *kept}


POLICY = """
[[budget]]
metric = "lipschitz"
layers = ["dense"]
max = 9

[[budget]]
metric = "clean_accuracy"
min = "1%"

[require]
min_samples = 30
"""


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_no_budget_of_a_policy_is_judged_by_a_part(audit, tmp_path, place):
    """Not even one on layers that were not reached, nor where all samples were evaluated."""
    (tmp_path / "lipaudit.toml").write_text(POLICY)
    report = stopped(audit, *place, policy=tmp_path / "lipaudit.toml")
    assert [b.metric for b in report.evidence.budgets].count("require") == 1
    assert len(report.evidence.budgets) == 5
    assert {b.outcome for b in report.evidence.budgets} == {"inconclusive"}
    assert {b.message for b in report.evidence.budgets} == {"not judged: interrupted"}
    assert not any(b.layers for b in report.evidence.budgets)
    assert (report.verdict, report.exit_code) == ("incomplete", 130)


def test_the_screen_says_how_many_layers_there_are(audit, whole):
    layers = len(whole.evidence.layers)
    assert f"· 1 of {layers} layers ·" in to_text(stopped(audit, "bounding layers", 1))
    assert f"· {layers} layers ·" in to_text(stopped(audit, "certifying", 1))


def test_a_gate_takes_it_for_incomplete(audit, tmp_path, capfd):
    (tmp_path / "r.json").write_text(to_json(stopped(audit, "attacking the claims", 0)), encoding="utf-8")
    assert main(["gate", str(tmp_path / "r.json"), "--max-lipschitz", "9", "--no-policy"]) == 3
    out, _ = capfd.readouterr()
    assert "interrupted" in out
    assert "PASS " not in out


def test_without_data_and_without_an_attack(audit):
    report = stopped(audit, "bounding layers", 2, attack=False)
    assert report.exit_code == 130
    assert report.evidence.global_.upper.value is not None

"""What the real program says where a person has to do something: the right advice, from what it saw."""

from pathlib import Path

import numpy as np
import pytest
import sample_report as sample
import tiny_models as tiny

from lipaudit.report.canonical import sealed, to_json

PLAIN = str(Path(__file__).parents[2] / "sample_models" / "mnist_plain" / "model.onnx")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Networks and samples with one fault each."""
    folder = tmp_path_factory.mktemp("faults")
    tiny.write_onnx(folder / "m.onnx")
    tiny.write_onnx(folder / "zeros.onnx", np.zeros_like(tiny.WEIGHT))
    tiny.write_onnx(folder / "square.onnx", squared=True)
    features = np.zeros((8, 4), np.float32)
    features[[5, 6, 7], [0, 1, 2]] = 1
    tiny.write_onnx(folder / "features.onnx", features)
    tiny.write_samples(folder / "right.npz")
    tiny.write_samples(folder / "wrong.npz", wrong=True)
    floats = np.zeros((30, 4), np.float32)
    floats[np.arange(30), np.arange(30) % 3] = 7
    np.savez(folder / "floats.npz", images=floats.reshape(30, 2, 2), labels=np.arange(30) % 3)
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def screen(done):
    return " ".join(done.out.split())


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("zeros.onnx -d npz:right.npz", "every sample is answered with class 0"),
        ("zeros.onnx -d npz:right.npz", "weights may be damaged or untrained"),
        ("features.onnx -d npz:right.npz", "it gives 8 scores, the labels end at 2"),
        ("features.onnx -d npz:right.npz", "a network that is no classifier is audited with --dataset none"),
        ("m.onnx -d npz:wrong.npz", "labels or preprocessing are likely wrong"),
    ],
)
def test_accuracy_near_chance_tells_its_likely_reason(run, line, said):
    done = run(*line.split())
    assert done.code == 3
    assert said in screen(done)
    assert "next Mend what LIP301 tells, then audit again" in screen(done)


@pytest.mark.usefixtures("here")
def test_nobody_is_told_to_state_what_is_stated(run):
    state = "and state the preprocessing with --mean and --std"
    assert state not in screen(run("m.onnx", "-d", "npz:floats.npz", "--mean", "0.1", "--std", "0.5"))
    assert "the preprocessing that is stated begins there" in screen(
        run("m.onnx", "-d", "npz:floats.npz", "--std", "0.5")
    )


@pytest.mark.usefixtures("here")
def test_the_users_own_std_is_no_layers_fault(run):
    done = run("m.onnx", "--mean", "0.5", "--std", "0.125", "--max-lipschitz", "2")
    assert done.code == 1
    assert "a factor of up to 8 is the preprocessing (scale/std)" in screen(done)


def test_a_budget_in_pixels_on_an_audit_of_inputs(run, here):
    (here / "p.toml").write_text('[[budget]]\nmetric = "lipschitz"\nmax = 20\n')
    done = run("m.onnx", "--std", "0.5", "--threat-space", "input", "--policy", "p.toml")
    assert done.code == 1
    assert 'write threat_space = "input" under [require] of the policy' in screen(done)
    (here / "p.toml").write_text(
        '[[budget]]\nmetric = "lipschitz"\nmax = 20\n[require]\nthreat_space = "input"\n'
    )
    assert run("m.onnx", "--std", "0.5", "--threat-space", "input", "--policy", "p.toml").code == 0


# Before any work

SAMPLES = "is about samples, and there is no data set"
IDLE = [
    ("--eps 0.5", f"--eps {SAMPLES}", "leave --eps out"),
    ("--limit 5", f"--limit {SAMPLES}", "leave --limit out"),
    ("--limit 5 --seed 1", f"--limit {SAMPLES}", "add --dataset mnist or npz:FILE"),
    ("--seed 1", f"--seed {SAMPLES}", "leave --seed out"),
    ("--data-dir .", f"--data-dir {SAMPLES}", "leave --data-dir out"),
    ("-d npz:right.npz --seed 1", "--seed does nothing without --limit", "--limit N draws N samples with it"),
    ("--plot a.svg", "a plot of certified accuracy needs a data set", "add --dataset"),
    ("-o a.svg", "a plot of certified accuracy needs a data set", "add --dataset"),
    ("--min-certified 0.5:90%", "a certified-accuracy budget needs a data set", "add --dataset"),
    ("--policy needy.toml", "counts samples, so it needs a data set", "add --dataset"),
]


@pytest.mark.parametrize(("options", "said", "hint"), IDLE, ids=[row[0] for row in IDLE])
def test_an_option_that_does_nothing_is_refused_once_the_model_is_there(
    run, here, pipeline, options, said, hint
):
    (here / "needy.toml").write_text('[[budget]]\nmetric = "clean_accuracy"\nmin = 0.5\n')
    before = sorted(here.iterdir())
    done = run("m.onnx", *options.split())
    assert (done.code, pipeline.calls) == (2, [])
    assert said in done.err
    assert hint in done.err
    done = run("mm.onnx", *options.split())
    assert done.code == 5
    assert done.err.startswith("error: no such file: mm.onnx\nhint: did you mean m.onnx?\n")
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("diff-model m.onnx m.onnx --limit 5", f"--limit {SAMPLES}"),
        ("diff-model m.onnx m.onnx --data-dir .", f"--data-dir {SAMPLES}"),
        ("verify report.json --model m.onnx --recheck 5", f"--recheck {SAMPLES}"),
        ("verify report.json --model m.onnx -d mnist --seed 5", "--seed does nothing without --recheck"),
        ("verify report.json --model m.onnx --data-dir .", f"--data-dir {SAMPLES}"),
    ],
)
def test_of_other_commands_as_well(run, here, line, said):
    (here / "report.json").write_text(to_json(sealed(sample.report())), encoding="utf-8")
    done = run(*line.split())
    assert done.code == 2
    assert said in done.err


@pytest.mark.usefixtures("here")
def test_a_gate_looks_for_the_report_before_a_policy(run):
    done = run("gate", "no.json")
    assert (done.code, done.err.splitlines()[0]) == (5, "error: no such file: no.json")


COMMAS = [
    (
        "--min-certified 0,5:90%",
        "'0,5' is no number such as 0.5 or 36/255: decimals take a point, write 0.5\n",
    ),
    ("--min-certified 0.5:90,5%", "decimals take a point, write 90.5"),
    ("--max-lipschitz 2,5", "decimals take a point, write 2.5"),
    ("--max-lipschitz 1,000", "decimals take a point, write 1.000, or 1000"),
    (
        "--eps 0,5",
        "--eps: radius 0 must be positive\nhint: write a radius such as 36/255 or 0.5, with a point",
    ),
    ("--min-certified 0:90%", "--min-certified '0:90%': radius 0 must be positive"),
]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("options", "said"), COMMAS, ids=[row[0] for row in COMMAS])
def test_a_decimal_comma_is_called_so(run, options, said):
    done = run("m.onnx", "-d", "npz:right.npz", *options.split())
    assert done.code == 2
    assert said in done.err
    assert ("--eps" in done.err) == options.startswith("--eps")


@pytest.mark.parametrize("other", ["zeros.onnx", PLAIN])
@pytest.mark.usefixtures("here")
def test_another_model_than_the_one_audited_is_called_so(run, other):
    assert run("m.onnx", "-o", "m.json", "-q").code == 0
    done = run("verify", "m.json", "--model", other)
    assert done.code == 4
    assert "this is not the model that was audited (is it the right --model?)" in screen(done)
    assert "--input-shape" not in done.err
    for reprs in ("[(", "')", "None"):
        assert reprs not in done.out
    assert ("model.input_shape: claimed 1, 1, 2, 2, proved 1, 1, 28, 28" in screen(done)) == (other == PLAIN)


@pytest.mark.usefixtures("here")
def test_the_preprocessing_is_not_normalised_away(run):
    """Where it cannot be merged into a layer, it is a row of its own, and no advice speaks of weights."""
    done = run("square.onnx", "--mean", "0.5", "--std", "0.125", "--max-lipschitz", "2")
    told = screen(done)
    assert "LIP201 [preprocessing]" in told
    assert "this is the preprocessing (scale/std), no layer" in told
    assert "normalise this layer" not in told

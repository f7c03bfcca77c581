"""What the real program says where a person has to do something: the right advice, from what it saw."""

import numpy as np
import pytest
import tiny_models as tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Networks and samples with one fault each."""
    folder = tmp_path_factory.mktemp("faults")
    tiny.write_onnx(folder / "m.onnx")
    tiny.write_onnx(folder / "zeros.onnx", np.zeros_like(tiny.WEIGHT))
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

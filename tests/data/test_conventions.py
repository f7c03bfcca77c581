"""Which preprocessing a network expects, told from its answers."""

import json
import math
from fractions import Fraction

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import lipaudit
from lipaudit.data import Dataset
from lipaudit.data.conventions import CONVENTIONS, STAGES, Question, settle
from lipaudit.data.layer_zero import entrance
from lipaudit.errors import Incomplete, InputRefused, UsageError
from lipaudit.load.preprocessing import Preprocessing

TOTAL = 6000


def samples(count, channels=1, name="npz:t.npz"):
    """The first `count` of one seeded set: images of size 4×4 whose label is hidden in their first pixels."""
    random = np.random.default_rng(1)
    labels = random.integers(0, 10, TOTAL)
    images = random.integers(0, 256, (TOTAL, channels, 4, 4), dtype=np.uint8)
    images[:, :, 0, 0], images[:, :, 0, 1] = 0, 255  # the full range, so that it can be recognised
    images[:, 0, 1, 1] = labels * 20 + 10
    images[:, 0, 1, 2], images[:, 0, 1, 3] = np.arange(TOTAL) % 256, np.arange(TOTAL) // 256
    chosen = slice(0, min(count, TOTAL))
    return Dataset(
        name=name,
        images=torch.from_numpy(images[chosen]),
        labels=torch.from_numpy(labels[chosen]),
        indices=torch.arange(TOTAL)[chosen],
        total=TOTAL,
        space="pixel [0,1]",
        fingerprint_sha256="0" * 64,
        official=None,
    )


def question(layouts=("chw",), channels=1, **changes):
    shape = (1, 4, 4, channels) if layouts == ("hwc",) else (1, channels, 4, 4)
    fields = {
        "stated": Preprocessing(),
        "layouts": layouts,
        "model_shape": shape,
        "values": True,
        "normalized": False,
        "middle": 0.0,
        "classes": 10,
    }
    return Question(**(fields | changes))


def expecting(convention, layout="chw"):
    """A program that answers correctly under one convention, and at random under others."""

    def program(x):
        if layout == "hwc":
            x = np.moveaxis(x, -1, 1)
        n, channels = x.shape[:2]
        mean = np.array([float(m) for m in convention.mean or (0,)]).reshape(1, -1, 1, 1)
        std = np.array([float(s) for s in convention.std or (1,)]).reshape(1, -1, 1, 1)
        pixels = (np.broadcast_to(x, (n, channels, 4, 4)) * std + mean) / float(convention.scale) * 255
        fits = np.abs(pixels - np.rint(pixels)).max((1, 2, 3)) < 1e-3
        fits &= (pixels.min((1, 2, 3)) > -0.5) & (pixels.max((1, 2, 3)) < 255.5)
        fits &= np.abs(pixels[:, :, 0, :2] - [0, 255]).max((1, 2)) < 0.5
        label = np.where(fits, np.rint((pixels[:, 0, 1, 1] - 10) / 20).astype(int) % 10, 3)
        return np.eye(10)[label]

    return program


NAMED = [c for c in CONVENTIONS if len(c.mean) < 3]
COLOURED = [c for c in CONVENTIONS if len(c.mean) == 3]


@pytest.mark.parametrize("convention", NAMED, ids=lambda c: c.name)
def test_grey_conventions_are_found(convention):
    found = settle(expecting(convention), question(), samples)
    p = found.preprocessing
    assert (p.scale, p.mean, p.std) == (convention.scale, convention.mean, convention.std)
    assert found.name == f"{convention.name} chw"
    assert (found.correct, found.samples) == (STAGES[1], STAGES[1])
    assert found.clear
    assert found.plausible
    assert p.source == "assumed"


@pytest.mark.parametrize("layout", ["chw", "hwc"])
@pytest.mark.parametrize("convention", COLOURED, ids=lambda c: c.name)
def test_coloured_conventions_are_found(convention, layout):
    asked = question((layout,), channels=3)
    found = settle(expecting(convention, layout), asked, lambda n: samples(n, channels=3))
    assert found.name == f"{convention.name} {layout}"


def test_the_layout_is_found():
    """A network of vectors: rows of channels first, or of channels last?"""
    data = samples(10_000, channels=3)
    for layout in ("hwc", "flat"):
        order = (0, 2, 3, 1) if layout == "hwc" else (0, 1, 2, 3)
        known = {
            image.tobytes(): label
            for image, label in zip(
                data.images.numpy().transpose(order).reshape(TOTAL, -1), data.labels.tolist(), strict=True
            )
        }

        def program(x, known=known):
            pixels = np.rint(x * 255).clip(0, 255).astype(np.uint8)
            return np.eye(10)[[known.get(row.tobytes(), 3) for row in pixels]]

        asked = question(("hwc", "flat"), model_shape=(1, 48), channels=3)
        found = settle(program, asked, lambda n: samples(n, channels=3))
        assert found.name == f"[0,1] {layout}"
        outside = entrance((1, 48), found.preprocessing, (3, 4, 4), layout)
        assert outside.run(data.pixels(0, 1)).flatten() * 255 == pytest.approx(
            data.images.numpy()[:1].transpose(order).flatten()
        )


def scored(**right):
    """A program with prescribed answers: `right[range]` says which samples it answers correctly there.

    Ranges: unit [0,1], byte 0…255, signed [-1,1]; others are always wrong.
    """
    labels = samples(TOTAL).labels.numpy()

    def program(x):
        low, high = x[:, 0, 0, 0], x[:, 0, 0, 1]
        kinds = {"unit": (0, 1), "byte": (0, 255), "signed": (-1, 1)}
        answers = np.full(len(x), -1)
        for kind, (a, b) in kinds.items():
            here = (np.abs(low - a) < 1e-3) & (np.abs(high - b) < 1e-3)
            share = (x[:, 0] - a) / (b - a) * 255
            index = np.rint(share[:, 1, 2] + 256 * share[:, 1, 3]).astype(int)
            correct = right.get(kind, lambda i: np.zeros(len(i), bool))(index.clip(0, TOTAL - 1))
            answers = np.where(here, np.where(correct, labels[index.clip(0, TOTAL - 1)], -1), answers)
        return np.where(answers[:, None] == np.arange(10), 1.0, 0.0) + np.where(
            answers[:, None] < 0, (labels_of(x)[:, None] + 1) % 10 == np.arange(10), 0
        )

    def labels_of(x):
        low, high = x[:, 0, 0, 0], x[:, 0, 0, 1]
        return np.rint(((x[:, 0, 1, 1] - low) / (high - low) * 255 - 10) / 20).astype(int)

    return program


def first(count):
    return lambda index: index < count


def test_pixels_as_they_are_win_up_to_three_standard_errors():
    """In 4096 samples the other is right 9 (then 10) times more often, never less: z = √9, √10."""
    last = STAGES[-1]
    for more, wins in ((9, "[0,1] chw"), (10, "0…255 chw")):
        found = settle(scored(unit=first(last - more), byte=first(last)), question(), samples)
        assert found.name == wins
        assert found.samples == last
        assert found.clear == (wins != "[0,1] chw")
        assert found.runner_up == ("0…255 chw" if found.name == "[0,1] chw" else "[0,1] chw")


def test_what_is_a_bit_better_is_not_better():
    """b = 60, c = 40 of 4096: z = 20/√100 = 2."""
    unit = lambda i: (i < 4000) & ~((i >= 100) & (i < 160))  # noqa: E731
    byte = lambda i: (i < 4000) & ~((i >= 200) & (i < 240))  # noqa: E731
    found = settle(scored(unit=unit, byte=byte), question(), samples)
    assert (found.name, found.correct, found.runner_up_correct) == ("[0,1] chw", 3940, 3960)
    assert not found.clear


def test_two_different_conventions_that_do_equally_well_are_refused():
    with pytest.raises(Incomplete, match=r"0…255 chw \(4000/4096 correct\) and \[-1,1\] chw") as caught:
        settle(scored(unit=first(100), byte=first(4000), signed=first(4000)), question(), samples)
    assert "--scale 255" in caught.value.hint
    assert "--mean 0.5 --std 0.5" in caught.value.hint


def test_accuracy_near_chance_is_no_finding():
    found = settle(scored(unit=first(40), byte=first(45)), question(), samples)
    assert not found.plausible
    assert found.name == "[0,1] chw"


def test_nan_is_no_answer():
    found = settle(lambda x: np.full((len(x), 10), np.nan), question(), samples)
    assert (found.correct, found.plausible) == (0, False)


def test_a_graph_that_normalises_is_only_asked_for_its_range():
    asked = []

    def program(x):
        asked.append((round(float(x.min()), 3), round(float(x.max()), 3)))
        return scored(byte=first(TOTAL))(x)

    found = settle(program, question(normalized=True), samples)
    assert found.name == "0…255 chw"
    assert {pair for pair in asked if pair[0] < 0} == set()


def test_a_single_score_is_parted_in_the_middle():
    def draw(count):
        data = samples(count)
        object.__setattr__(data, "labels", (data.labels > 4).long())
        return data

    def program(x):
        return np.where(x.max((1, 2, 3)) > 2, 1 / (1 + np.exp(90 - x[:, 0, 1, 1])), 0.5)[:, None]

    found = settle(program, question(middle=0.5, classes=1), draw)
    assert (found.name, found.correct) == ("0…255 chw", STAGES[1])


def test_one_sample_is_enough_to_ask():
    found = settle(scored(unit=first(TOTAL)), question(), lambda _: samples(1))
    assert (found.name, found.correct, found.samples) == ("[0,1] chw", 1, 1)
    assert not found.clear


def small_network(path, *, nodes=(), extra=(), metadata=None):
    """Flatten, then the ten templates of labels hidden in pixel (1, 1)."""
    weight = np.zeros((16, 10), np.float32)
    weight[5] = np.arange(10)
    # Scores k·p − k(k+1)·10/255 are largest for the k whose pixel 20k + 10 is nearest.
    bias = -np.array([sum(20 * j / 255 for j in range(1, k + 1)) for k in range(10)], np.float32)
    last = nodes[-1].output[0] if nodes else "x"
    graph = helper.make_graph(
        [
            *nodes,
            helper.make_node("Flatten", [last], ["f"]),
            helper.make_node("Gemm", ["f", "w", "b"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 1, 4, 4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 10])],
        [
            onnx.numpy_helper.from_array(weight, "w"),
            onnx.numpy_helper.from_array(bias, "b"),
            *(onnx.numpy_helper.from_array(np.float32(value), name) for name, value in extra),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "lipaudit.preprocessing", json.dumps({"version": 1, **metadata})
    onnx.save(model, path)
    return path


def write_data(path, count=600):
    data = samples(count)
    np.savez(path, images=data.images.numpy(), labels=data.labels.numpy())
    return f"npz:{path}"


NORMALIZES = {
    "nodes": [helper.make_node("Sub", ["x", "m"], ["a"]), helper.make_node("Div", ["a", "s"], ["b1"])],
    "extra": [("m", [[[0.5]]]), ("s", [[[0.5]]])],
}


def test_an_assumption_reaches_the_report(tmp_path):
    path, data = small_network(tmp_path / "m.onnx"), write_data(tmp_path / "d.npz")
    report = lipaudit.audit(path, dataset=data, limit=20, attack=False)
    record = report.evidence.preprocessing
    assert record.assumption.convention == "[0,1] chw"
    assert (record.assumption.correct, record.assumption.samples) == (512, 512)
    assert (record.source, record.scale, record.mean) == ("assumed", "1", ())
    assert report.evidence.dataset.num_evaluated == 20
    stated = lipaudit.audit(path, dataset=data, limit=20, attack=False, scale=1)
    assert stated.evidence.preprocessing.assumption is None
    assert stated.evidence.robustness == report.evidence.robustness


def test_a_budget_is_not_judged_by_a_guess(tmp_path):
    """Templates without bias do not see the range.  (So few samples may have one label.)"""
    path, data = small_network(tmp_path / "m.onnx"), write_data(tmp_path / "d.npz", 9)
    model = onnx.load(path)
    model.graph.node[-1].attribute.add(name="beta", type=1, f=0.0)
    onnx.save(model, path)
    np.savez(tmp_path / "d.npz", images=samples(9).images.numpy(), labels=np.full(9, 9))
    report = lipaudit.audit(path, dataset=data, attack=False)
    assert [f.rule for f in report.evidence.findings] == ["LIP305"]
    assert report.exit_code == 0
    report = lipaudit.audit(path, dataset=data, attack=False, max_lipschitz=1e9)
    assert [f.rule for f in report.evidence.findings] == ["LIP306"]
    assert [b.outcome for b in report.evidence.budgets] == ["inconclusive"]
    assert "guess" in report.evidence.budgets[0].message
    assert report.exit_code == 3
    report = lipaudit.audit(path, dataset=data, attack=False, max_lipschitz=1e9, scale=1)
    assert report.exit_code == 0


def test_no_usual_preprocessing_beats_chance(tmp_path):
    path, data = small_network(tmp_path / "m.onnx"), write_data(tmp_path / "d.npz")
    labels = np.random.default_rng(3).integers(0, 10, 600)
    np.savez(tmp_path / "d.npz", images=samples(600).images.numpy(), labels=labels)
    report = lipaudit.audit(path, dataset=data, attack=False)
    assert {f.rule for f in report.evidence.findings} == {"LIP301", "LIP304"}
    assert report.exit_code == 3


def test_normalising_twice_is_an_error(tmp_path):
    path, data = small_network(tmp_path / "m.onnx", **NORMALIZES), write_data(tmp_path / "d.npz")
    with pytest.raises(UsageError, match="subtracts a mean from its input itself"):
        lipaudit.audit(path, dataset=data, mean=[Fraction(1, 2)], std=[Fraction(1, 2)])
    with pytest.raises(UsageError, match="subtracts a mean from its input itself"):
        lipaudit.audit(path, mean=[Fraction(1, 2)], std=[Fraction(1, 2)])  # also without samples
    stated = {"metadata": {"mean": ["0.5"], "std": ["0.5"]}}
    path = small_network(tmp_path / "n.onnx", **NORMALIZES, **stated)
    with pytest.raises(InputRefused, match="subtracts a mean from its input itself"):
        lipaudit.audit(path, dataset=data)


def test_a_range_may_be_stated_for_a_graph_that_normalises(tmp_path):
    path, data = small_network(tmp_path / "m.onnx", **NORMALIZES), write_data(tmp_path / "d.npz")
    report = lipaudit.audit(path, dataset=data, scale=255, attack=False)
    assert report.evidence.preprocessing.scale == "255"


def test_the_standard_errors_are_those_of_the_difference():
    """z against the standard deviation of the paired differences under the null hypothesis."""
    from lipaudit.data.conventions import _Trial, _z  # noqa: PLC0415

    generator = torch.Generator().manual_seed(0)
    one, other = torch.rand(2, 500, generator=generator) < 0.7
    difference = one.double() - other.double()
    wanted = float(difference.sum()) / math.sqrt(float((difference**2).sum()))
    trials = [_Trial("", Preprocessing(), hits) for hits in (one, other)]
    assert _z(*trials) == pytest.approx(wanted)


def test_perturbations_of_the_models_own_input(tmp_path):
    """In its own input a network of pixels 0…255 is 255 times less sensitive; its radii grow by as much."""
    path, data = small_network(tmp_path / "m.onnx"), write_data(tmp_path / "d.npz", 40)
    model = onnx.load(path)
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0]) / 255
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.float32(weight), "w"))
    onnx.save(model, path)
    options = {"dataset": data, "scale": 255, "attack": True, "eps": "0.01"}
    pixel, own = (lipaudit.audit(path, **options, threat_space=space) for space in ("pixel", "input"))
    assert own.evidence.preprocessing.threat_space == "the model's own input"
    assert pixel.evidence.preprocessing.threat_space == "pixel [0,1]"
    ratio = pixel.evidence.global_.upper.value / own.evidence.global_.upper.value
    assert ratio == pytest.approx(255, rel=1e-6)
    pairs = list(zip(pixel.evidence.robustness.samples, own.evidence.robustness.samples, strict=True))
    assert any(a.radius > 0 for a, _ in pairs)
    assert all(b.radius == pytest.approx(255 * a.radius, rel=1e-5) for a, b in pairs)
    assert [f.rule for f in own.evidence.findings] == ["LIP309"]
    with pytest.raises(UsageError, match="threat space"):
        lipaudit.audit(path, threat_space="colour")


@pytest.mark.parametrize("said", [{}, {"layout": "chw"}, {"input_shape": [1, 4, 4]}])
def test_metadata_that_do_not_speak_of_values_leave_them_open(said, tmp_path):
    path = small_network(tmp_path / "m.onnx", metadata=said)
    report = lipaudit.audit(path, dataset=write_data(tmp_path / "d.npz"), limit=20, attack=False)
    assert report.evidence.preprocessing.assumption.convention == "[0,1] chw"
    path = small_network(tmp_path / "n.onnx", metadata={**said, "scale": "1"})
    report = lipaudit.audit(path, dataset=write_data(tmp_path / "d.npz"), limit=20, attack=False)
    assert report.evidence.preprocessing.assumption is None


def test_normalising_slice_by_slice_is_seen():
    """As torchvision's networks do that transform their input."""
    from lipaudit.load.export import export_module  # noqa: PLC0415
    from lipaudit.load.translate import translate  # noqa: PLC0415
    from lipaudit.subject import own_normalization  # noqa: PLC0415

    class Net(torch.nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x):
            return self.function(x)

    def normalises(function):
        return own_normalization(translate(export_module(Net(function), torch.zeros(1, 2, 4, 4), "m")))

    assert normalises(lambda x: torch.cat([x[:, :1] * 0.5 - 0.1, x[:, 1:] * 0.6 - 0.2], 1).relu())
    assert normalises(lambda x: ((x - 0.5) / 0.25).relu())
    assert normalises(lambda x: (x.permute(0, 2, 3, 1) * 2 - 1).relu())
    assert not normalises(lambda x: torch.cat([x[:, :1] - 0.1, x[:, 1:]], 1).relu())
    assert not normalises(lambda x: (x - 0.5).relu() + x)
    assert not normalises(lambda x: (x / 255).relu())
    assert not normalises(torch.relu)

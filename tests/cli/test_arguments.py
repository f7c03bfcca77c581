"""What a command line means: the default command, options, and refusals before any work."""

from fractions import Fraction
from pathlib import Path

import pytest

from lipaudit.cli import auditing, values
from lipaudit.cli.commands import COMMANDS, command_named
from lipaudit.cli.entry import with_command
from lipaudit.cli.request import AuditRequest
from lipaudit.errors import UsageError
from lipaudit.spectral import METHODS, PROFILES
from lipaudit.spectral.select import LEAST_MEMORY


def test_a_model_needs_no_command(run, pipeline, model):
    assert run(model).code == run("audit", model).code == 0
    assert pipeline.calls[0] == pipeline.calls[1]


def test_defaults(run, pipeline, model):
    run(model)
    assert pipeline.calls == [
        {
            "model": str(model),
            "dataset": "none",
            "data_dir": None,
            "offline": False,
            "resize": None,
            "crop": None,
            "arch": None,
            "allow_global": (),
            "trust_pickle": None,
            "input_shape": None,
            "logits": None,
            "mean": None,
            "std": None,
            "scale": None,
            "layout": None,
            "threat_space": "pixel",
            "limit": None,
            "seed": None,
            "eps": ("36/255", "72/255", "108/255", "1"),
            "max_lipschitz": None,
            "min_certified": (),
            "policy": None,
            "method": "auto",
            "profile": "balanced",
            "memory": 2 * 2**30,
            "device": "auto",
            "attack": True,
        }
    ]


def test_all_options(run, pipeline, model):
    options = (
        "-d mnist:test --data-dir here --offline --resize 256 --crop 224x192 --arch net.py:make "
        "--input-shape 1,28,28 --logits y --mean 0.1307 --std 0.3081 "
        "--scale 1/255 --layout hwc --threat-space input --limit 100 --seed 7 "
        "--eps 36/255,0.5 --eps 1 --max-lipschitz 20 "
        "--min-certified 36/255:0.6 --min-certified 1:10% "
        "--allow-global a.B --allow-global a.C --method fft --method conv*=dense --profile tight "
        "--memory 512MiB --device cuda:1 --no-attack"
    )
    assert run(*options.split(), model).code == 0
    assert pipeline.calls == [
        {
            "model": str(model),
            "dataset": "mnist:test",
            "data_dir": Path("here"),
            "offline": True,
            "resize": (256,),
            "crop": (224, 192),
            "arch": "net.py:make",
            "allow_global": ("a.B", "a.C"),
            "trust_pickle": None,
            "input_shape": (1, 28, 28),
            "logits": "y",
            "mean": (Fraction(1307, 10_000),),
            "std": (Fraction(3081, 10_000),),
            "scale": Fraction(1, 255),
            "layout": "hwc",
            "threat_space": "input",
            "limit": 100,
            "seed": 7,
            "eps": ("36/255", "0.5", "1"),
            "max_lipschitz": "20",
            "min_certified": ("36/255:0.6", "1:10%"),
            "policy": None,
            "method": ("fft", "conv*=dense"),
            "profile": "tight",
            "memory": 512 * 2**20,
            "device": "cuda:1",
            "attack": False,
        }
    ]


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("512MiB", 2**29),
        ("2G", 2**31),
        ("2GiB", 2**31),
        ("2gib", 2**31),
        ("1.5GiB", 3 * 2**29),
        ("2GB", 2 * 10**9),
        ("0.1T", 2**40 // 10),
        ("20000000", 20_000_000),
        ("20000000B", 20_000_000),
        ("64 MiB", 2**26),
    ],
)
def test_amounts_of_memory(run, pipeline, model, text, amount):
    assert run(model, "--memory", text).code == 0
    assert pipeline.calls[0]["memory"] == amount


def test_names_and_numbers_that_are_checked_without_torch_are_the_engines():
    assert tuple(profile.name for profile in PROFILES) == auditing._PROFILES
    assert values.LEAST_MEMORY == LEAST_MEMORY
    (told,) = (p.help for p in command_named("audit").params if p.name == "method")
    assert f"): {', '.join(m.name for m in METHODS)}, or auto" in told


def test_negative_means_are_values(run, pipeline, model):
    assert run(model, "--mean", "-0.5,0.25,1/3").code == 0
    assert pipeline.calls[0]["mean"] == (Fraction(-1, 2), Fraction(1, 4), Fraction(1, 3))


@pytest.mark.parametrize(
    "options",
    [
        "--max-lipschitz nan",
        "--max-lipschitz inf",
        "--max-lipschitz -1",
        "--max-lipschitz 1e999",
        "--max-lipschitz ten",
        "--eps 0",
        "--eps 1,,2",
        "--eps nan",
        "--min-certified 1:0.5",
        "--min-certified 1:0.5 --dataset none",
        "--min-certified 1:1.5 --dataset mnist",
        "--min-certified 0.5 --dataset mnist",
        "--limit 0",
        "--limit x",
        "--seed -1",
        "--layout cwh",
        "--threat-space colour",
        "--resize 0",
        "--resize 1,2,3",
        "--resize 99999",
        "--crop x",
        "--crop -5",
        "--crop 224,",
        "--scale 0",
        "--scale 1,2",
        "--std 0.5,0",
        "--mean x",
        "--input-shape 1,0,28",
        "--input-shape 28*28",
        "--device tpu",
        "--profile quick",
        "--profile Fast",
        "--memory 2XB",
        "--memory -1",
        "--memory 2iB",
        "--memory nan",
        "--memory 1e9",
        "--memory 1KiB",
        "--memory 0",
        "--unknown",
        "--dataset",
        "another.onnx",
        "-o report.pdf",
        "-o -",
        "-o json=",
        "-o pdf=report",
        "-o json=- -o text=-",
        "-o a.json -o ./a.json",
        "-o missing-folder/report.json",
    ],
)
def test_what_cannot_be_meant_is_usage(run, pipeline, model, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(model, *options.split())
    assert done.code == 2
    assert pipeline.calls == []
    assert done.out == ""
    assert done.err.splitlines()[0].startswith("error: ")
    assert done.err.splitlines()[-1] == "exit 2: usage, config or policy error"
    assert [path.name for path in tmp_path.iterdir()] == [model.name]


def test_usage_precedes_a_missing_model(run, pipeline, tmp_path):
    assert run(tmp_path / "no.onnx", "--max-lipschitz", "nan").code == 2
    assert run(tmp_path / "no.onnx").code == 5
    assert pipeline.calls == []


def test_a_missing_model_suggests_its_neighbour(run, model):
    done = run(model.with_name("model [v2] größe.onnx"))
    assert done.code == 5
    assert f"no such file: {model.with_name('model [v2] größe.onnx')}" in done.err
    assert f"did you mean {model}?" in done.err


@pytest.mark.parametrize("name", ["nope.onnx", "c2.onnx", "no.safetensors"])
def test_a_suffix_alone_makes_no_names_alike(run, tmp_path, name):
    for there in ("c1.onnx", "two8.onnx"):
        (tmp_path / there).touch()
    done = run(tmp_path / name)
    assert done.code == 5
    assert ("did you mean" in done.err) == (name == "c2.onnx")


NUMBERS = [
    ("spectrum m.onnx", "--top"),
    ("audit m.onnx -d mnist", "--limit"),
    ("m.onnx -d mnist --limit 3", "--seed"),
    ("verify r.json -m m.onnx", "--recheck"),
    ("verify r.json -m m.onnx -d mnist --recheck 3", "--seed"),
    ("compare m.onnx", "--batch"),
    ("diff-model a.onnx b.onnx -d mnist", "--limit"),
]


@pytest.mark.parametrize("typed", ["x", "1.5", ""])
@pytest.mark.parametrize(("line", "flag"), NUMBERS)
def test_what_is_no_whole_number_is_shown(run, line, flag, typed):
    done = run(*line.split(), flag, typed)
    assert done.code == 2
    assert f"Invalid value for '{flag}': {typed!r} is no whole number" in done.err


def test_what_is_no_number_is_shown(run):
    done = run("diff-model", "a.onnx", "b.onnx", "--tolerance", "x")
    assert done.code == 2
    assert "Invalid value for '--tolerance': 'x' is no number" in done.err


def test_no_argument_is_usage(run):
    done = run()
    assert done.code == 2
    assert "no model given" in done.err


@pytest.mark.parametrize(("typed", "meant"), [("adit", "audit"), ("Audit", "audit"), ("schemas", "schema")])
def test_a_mistyped_command_is_suggested(run, typed, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(typed)
    assert done.code == 2
    assert f"lipaudit {meant}" in done.err


def test_a_file_called_almost_like_a_command_is_a_model(run, pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("adit").write_bytes(b"model")
    assert run("adit").code == 0
    assert pipeline.calls[0]["model"] == "adit"


def test_a_path_is_never_taken_for_a_command(tmp_path):
    assert with_command(["./audit"]) == ["audit", "./audit"]
    assert with_command(["schema.onnx"]) == ["audit", "schema.onnx"]
    assert with_command(["-q", "x"]) == ["audit", "-q", "x"]
    assert with_command([str(tmp_path)]) == ["audit", str(tmp_path)]
    assert with_command(["x" * 5000]) == ["audit", "x" * 5000]
    with pytest.raises(UsageError):
        with_command(["audi"])


def test_a_model_may_start_with_a_dash(run, pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("-x.onnx").write_bytes(b"model")
    assert run("--", "-x.onnx").code == 0
    assert pipeline.calls[0]["model"] == "-x.onnx"


def test_options_and_request_have_the_same_fields():
    names = {parameter.name for parameter in command_named("audit").params}
    assert names == set(AuditRequest.__dataclass_fields__)
    defaults = AuditRequest(model="m")
    for parameter in command_named("audit").params:
        if parameter.name != "model":
            assert (parameter.default or None) == (getattr(defaults, parameter.name) or None)


def test_the_table_of_commands_is_the_parsers():
    for name in COMMANDS:
        assert command_named(name).help
    with pytest.raises(KeyError):
        command_named("other")


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["help"], "`lipaudit --help`"),
        (["help", "gate"], "`lipaudit gate --help`"),
        (["help", "policy", "check"], "`lipaudit policy check --help`"),
        (["help", "x"], "`lipaudit --help`"),
    ],
)
def test_help_as_a_word_says_how_it_is_asked_for(run, tmp_path, monkeypatch, words, call):
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert done.code == 2
    assert call in done.err


def test_a_limit_beyond_the_data_is_told(run, pipeline, model):
    total = pipeline.report.evidence.dataset.total
    assert "limits nothing" in run(model, "-d", "mnist", "--limit", total + 1).err
    assert "limits nothing" not in run(model, "-d", "mnist", "--limit", total).err
    assert "limits nothing" not in run(model, "-d", "mnist", "--limit", total + 1, "-q").err

"""Reports reach their places whole or not at all, and those places are tried before the work."""

import errno
import json
import os
import stat

import onnx
import pytest
import sample_report as sample
from onnx import TensorProto
from stand_in import shell

from lipaudit.errors import ExitCode
from lipaudit.report import from_json, to_text


@pytest.mark.parametrize("verdict", sample.CODES)
def test_all_reports_are_written_whatever_the_verdict(run, pipeline, model, tmp_path, verdict):
    pipeline.report = sample.report(verdict)
    done = run(model, "-o", tmp_path / "a.json", "-o", tmp_path / "b.txt", "-o", f"json={tmp_path / 'c'}")
    assert done.code == sample.CODES[verdict]
    assert from_json((tmp_path / "a.json").read_text()) == pipeline.report
    assert (tmp_path / "b.txt").read_text() == to_text(pipeline.report) == done.out
    assert (tmp_path / "c").read_text() == (tmp_path / "a.json").read_text()
    assert done.err.splitlines() == [f"wrote {tmp_path / name}" for name in ("a.json", "b.txt", "c")]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a.json", "b.txt", "c", model.name])


def test_json_on_stdout_is_json_alone(run, pipeline, model):
    done = run(model, "-o", "json=-")
    assert json.loads(done.out)["verdict"] == "pass"
    assert done.err.splitlines()[-1].startswith("PASS (exit 0: ")
    assert run(model, "-o", "json=-", "-q").err == ""
    assert pipeline.calls


def test_quiet_leaves_the_verdict(run, pipeline, model, tmp_path):
    done = run(model, "-q", "-o", tmp_path / "r.json")
    assert done.out.startswith("PASS (exit 0: ")
    assert done.out.count("\n") == 1
    assert done.err == ""
    assert (tmp_path / "r.json").exists()
    assert pipeline.calls


def test_verbose_tells_the_stages(run, pipeline, model):
    assert "3.2 s  spectral" in run(model, "-v").err
    assert pipeline.calls


def test_targets_are_tried_before_the_audit(run, pipeline, model, tmp_path):
    (tmp_path / "folder.json").mkdir()
    for target in (
        tmp_path / "folder.json",
        tmp_path / "no" / "r.json",
        model / "r.json",
        f"{tmp_path}/{'x' * 300}.json",
    ):
        done = run(model, "-o", target)
        assert done.code == 2
        assert "cannot write" in done.err
    assert pipeline.calls == []


def test_a_folder_without_permission(run, pipeline, model, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    assert run(model, "-o", folder / "r.json").code == 2
    assert pipeline.calls == []


def test_trying_leaves_nothing_behind(run, pipeline, model, tmp_path):
    target = tmp_path / "r.json"
    target.write_text("old")

    def fail():
        assert target.read_text() == "old"
        assert len(list(tmp_path.iterdir())) == 2
        raise ValueError

    pipeline.action = fail
    assert run(model, "-o", target).code == 70
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_model_is_not_overwritten(run, pipeline, model, tmp_path):
    link = tmp_path / "link.json"
    link.symlink_to(model)
    for target in (f"json={model}", link):
        done = run(model, "-o", target)
        assert done.code == 2
        assert "the model itself" in done.err
    assert model.read_bytes() == b"model"
    assert pipeline.calls == []


def test_links_and_permissions_survive(run, pipeline, model, tmp_path):
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    assert run(model, "-o", link).code == 0
    assert link.is_symlink()
    assert from_json(target.read_text()) == pipeline.report
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_new_files_follow_the_umask(run, pipeline, model, tmp_path):
    before = os.umask(0o027)
    try:
        run(model, "-o", tmp_path / "r.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "r.json").stat().st_mode) == 0o640
    assert pipeline.calls


def test_devices_stay_devices(run, pipeline, model):
    assert run(model, "-o", "json=/dev/null").code == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # noqa: PTH116
    assert pipeline.calls


NOT_WRITTEN = f"NOT WRITTEN (exit 2: {ExitCode.USAGE.meaning})"


@pytest.mark.parametrize("verdict", ["pass", "fail"])
@pytest.mark.parametrize("options", [[], ["-q"]])
def test_a_failed_write_keeps_the_others_and_is_the_end(run, pipeline, model, tmp_path, verdict, options):
    folder = tmp_path / "goes"
    folder.mkdir()
    pipeline.report = sample.report(verdict)
    pipeline.action = folder.rmdir
    done = run(model, "-o", folder / "r.json", "-o", tmp_path / "b.txt", *options)
    assert done.code == 2
    assert (tmp_path / "b.txt").exists()
    assert done.out.splitlines()[-1] == NOT_WRITTEN
    assert "(exit 0" not in done.out
    assert "cannot write" in done.err


def test_a_failed_write_is_the_end_beside_a_report_on_stdout(run, pipeline, model, tmp_path):
    folder = tmp_path / "goes"
    folder.mkdir()
    pipeline.action = folder.rmdir
    done = run(model, "-o", folder / "r.json", "-o", "json=-")
    assert done.code == 2
    assert json.loads(done.out)
    assert NOT_WRITTEN in done.err.splitlines()
    assert "(exit 0" not in done.err


def test_odd_names_are_verbatim(run, pipeline, model, tmp_path):
    target = tmp_path / "[red]größe[red] 卷.json"
    done = run(model, "-o", target)
    assert done.err == f"wrote {target}\n"
    assert target.exists()
    missing = run(tmp_path / "[bold]no[bold].onnx")
    assert "[bold]no[bold].onnx" in missing.err
    assert pipeline.calls


# Faults: never a truncated report, and the earlier file stays


@pytest.fixture
def old(model):
    """An earlier report beside the model."""
    target = model.parent / "old.json"
    target.write_text("old")
    return target


def unharmed(old, model):
    return old.read_text() == "old" and {p.name for p in old.parent.iterdir()} == {old.name, model.name}


def test_a_disk_that_fills_up_keeps_the_earlier_report(old, model):
    """Files may not grow beyond one block, as on a disk with no more room."""
    done = shell(f'cd "{model.parent}" && ulimit -f 1 && lipaudit "{model}" -o old.json')
    assert done.returncode == 2
    assert b"error: cannot write old.json: File too large" in done.stderr
    assert done.stderr.splitlines()[-1] == b"exit 2: usage, config or policy error"
    assert done.stdout.splitlines()[-1] == NOT_WRITTEN.encode()
    assert unharmed(old, model)


def test_a_full_file_system_keeps_the_earlier_report(run, pipeline, old, model, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lipaudit.cli.outputs.os.fsync", full)
    done = run(model, "-o", old)
    assert done.code == 2
    assert f"cannot write {old}: No space left on device" in done.err
    assert unharmed(old, model)
    assert pipeline.calls


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_a_full_device_is_told(run, pipeline, model):
    done = run(model, "-o", "json=/dev/full")
    assert done.code == 2
    assert "cannot write /dev/full: No space left on device" in done.err
    assert pipeline.calls


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_file_system_that_takes_no_file_is_told_before_the_audit(
    run, pipeline, old, model, monkeypatch, number
):
    def refuse(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("lipaudit.cli.outputs.tempfile.mkstemp", refuse)
    done = run(model, "-o", old)
    assert done.code == 2
    assert f"cannot write {old}: {os.strerror(number)}" in done.err
    assert pipeline.calls == []
    assert unharmed(old, model)


def test_a_read_only_report_is_told_before_the_audit(run, pipeline, old, model, monkeypatch):
    monkeypatch.setattr("lipaudit.cli.outputs.os.access", lambda *_: False)  # root may write everywhere
    done = run(model, "-o", old)
    assert done.code == 2
    assert "it is read-only" in done.err
    assert pipeline.calls == []
    assert unharmed(old, model)


def test_an_interruption_while_writing_keeps_the_earlier_report(run, pipeline, old, model, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lipaudit.cli.outputs.os.fsync", stop)
    done = run(model, "-o", old)
    assert (done.code, done.out) == (130, "")
    assert unharmed(old, model)
    assert pipeline.calls


def test_no_report_replaces_what_the_audit_reads(run, model, tmp_path, pipeline, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.json").write_text("base")
    (tmp_path / "data.json").write_text("data")
    (tmp_path / "arch.json").write_text("arch")
    policy = '[[budget]]\nmetric = "lipschitz"\nbaseline = "base.json"\nmax_increase = 0\n'
    (tmp_path / "lipaudit.toml").write_text(policy)
    audit = [model, "--arch", "arch.json:make", "--dataset", "npz:data.json"]
    places = ("base.json", "data.json", "arch.json", "json=lipaudit.toml", f"json={model}")
    for place in places:
        done = run(*audit, "-o", place)
        assert done.code == 2
        assert "it would be replaced" in done.err
    assert not pipeline.calls
    assert (tmp_path / "lipaudit.toml").read_text() == policy
    assert run(*audit, "-o", "report.json").code == 0


def external(path, *locations):
    """A model with a tensor at each of these places."""
    tensors = [TensorProto(name=f"w{k}", data_type=1, dims=[1]) for k in range(len(locations))]
    for tensor, location in zip(tensors, locations, strict=True):
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        tensor.external_data.add(key="offset", value="0")
    path.write_bytes(onnx.ModelProto(graph=onnx.GraphProto(initializer=tensors)).SerializeToString())


LONG = "w" * 200


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("m.onnx.data", "m.onnx.data"),
        ("./parts//w.json", "parts/w.json"),
        ("parts\\w.json", "parts/w.json"),
        ("größe", "größe"),
        (LONG, LONG),
    ],
)
def test_external_weights_are_not_overwritten(run, pipeline, tmp_path, location, target):
    external(tmp_path / "m.onnx", "other", location)
    weights = tmp_path / target
    weights.parent.mkdir(exist_ok=True)
    weights.write_text("weights that look like text")
    link = tmp_path / "link.json"
    link.symlink_to(weights)
    for place in (weights, link):
        done = run(tmp_path / "m.onnx", "-o", f"json={place}")
        assert done.code == 2
        assert "a file of the model" in done.err
    assert weights.read_text() == "weights that look like text"
    assert pipeline.calls == []
    assert run(tmp_path / "m.onnx", "-o", tmp_path / "report.json").code == 0


@pytest.mark.parametrize("location", ["", ".", "..", "\0", "x" * 3000, "a/" * 2000, "/etc/passwd", "~"])
def test_places_that_no_model_means_keep_nothing(run, pipeline, tmp_path, location):
    external(tmp_path / "m.onnx", location)
    for _ in range(2):
        assert run(tmp_path / "m.onnx", "-o", f"json={tmp_path / 'report'}").code == 0
    assert len(pipeline.calls) == 2


BINARY = [
    b"\x00\x00\x08\x03",
    b"\x1f\x8b\x08",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0\x00\x10JFIF",
    b"PK\x03\x04",
]


@pytest.mark.parametrize("content", BINARY)
def test_nothing_but_text_is_replaced(run, pipeline, model, tmp_path, content):
    target = tmp_path / "cache" / "t10k.json"
    target.parent.mkdir()
    target.write_bytes(b"x" * (1 << 20) + content)
    done = run(model, "-o", target)
    assert done.code == 2
    assert "no text, so no report" in done.err
    assert target.read_bytes().endswith(content)
    assert pipeline.calls == []


@pytest.mark.parametrize("words", [("imagefolder:photos",), ("imagefolder:photos", "--data-dir", ".")])
def test_images_are_not_overwritten(run, pipeline, model, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "photos" / "dog" / "1.PPM"
    image.parent.mkdir(parents=True)
    image.write_text("P3 1 1 255 0 0 0")  # an image that is text
    (tmp_path / "alias").symlink_to(tmp_path / "photos")
    for place in ("photos/dog/1.PPM", "alias/dog/1.PPM", "photos/../photos/dog/1.PPM"):
        done = run(model, "--dataset", *words, "-o", f"json={place}")
        assert done.code == 2
        assert "in the folder of the data" in done.err
    assert image.read_text() == "P3 1 1 255 0 0 0"
    assert pipeline.calls == []
    for _ in range(2):  # a report of last time may be replaced
        assert run(model, "--dataset", *words, "-o", "photos/report.json").code == 0


def test_the_data_sets_own_files_are_not_overwritten(run, pipeline, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("cifar10.npz", "data_batch_1", "mine.json"):
        (folder / name).write_text("text")
    for spec, target in (
        ("cifar10", "data/cifar10.npz"),
        ("cifar10:train", "data/data_batch_1"),
        ("npz:mine.json", "data/mine.json"),
    ):
        done = run(model, "--dataset", spec, "--data-dir", "data", "-o", f"json={target}")
        assert done.code == 2
        assert "it would be replaced" in done.err
    assert pipeline.calls == []
    assert {file.read_text() for file in folder.iterdir()} == {"text"}


def test_a_policy_without_budgets_is_told(run, pipeline, model, tmp_path):
    policy = tmp_path / "lipaudit.toml"
    policy.write_text("# nothing yet\n")
    done = run(model, "--policy", policy)
    assert done.code == 0
    assert f"warning: {policy} holds no budget: it asks for nothing" in done.err
    assert "warning" not in run(model, "--no-policy").err
    policy.write_text('[[budget]]\nmetric = "lipschitz"\nmax = 1\n')
    assert "warning" not in run(model, "--policy", policy).err
    assert len(pipeline.calls) == 3


def test_a_folder_that_takes_no_file_is_not_called_missing(run, pipeline, model, monkeypatch):
    def refuse(**_):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    done = run(model, "-o", model.parent / "x.json")
    assert done.code == 2
    assert f"no file can be made in {model.parent}" in done.err
    assert pipeline.calls == []

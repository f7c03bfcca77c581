"""Reports reach their places whole or not at all, and those places are tried before the work."""

import json
import os
import stat

import pytest
import sample_report as sample

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


def test_a_failed_write_keeps_the_others_and_the_verdict(run, pipeline, model, tmp_path):
    folder = tmp_path / "goes"
    folder.mkdir()
    pipeline.report = sample.report("fail")
    pipeline.action = folder.rmdir
    done = run(model, "-o", folder / "r.json", "-o", tmp_path / "b.txt")
    assert done.code == 2
    assert (tmp_path / "b.txt").exists()
    assert done.out.splitlines()[-1].startswith("FAIL")
    assert "cannot write" in done.err


def test_odd_names_are_verbatim(run, pipeline, model, tmp_path):
    target = tmp_path / "[red]größe[red] 卷.json"
    done = run(model, "-o", target)
    assert done.err == f"wrote {target}\n"
    assert target.exists()
    missing = run(tmp_path / "[bold]no[bold].onnx")
    assert "[bold]no[bold].onnx" in missing.err
    assert pipeline.calls

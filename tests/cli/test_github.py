"""What a job on GitHub is told, and that nothing foreign can give it orders."""

import re

import pytest
import report_zoo as zoo
import sample_report as sample

from lipaudit.cli import github, outputs, streams, workflow
from lipaudit.errors import UsageError
from lipaudit.report import to_json
from lipaudit.report.canonical import sealed
from lipaudit.report.markdown import to_markdown
from lipaudit.report.wording import printable

COMMAND = re.compile(r"::(error|warning|notice) ((?:\w+=[^:,]*,?)+)::(.*)")


@pytest.fixture
def job(monkeypatch, tmp_path):
    """A job of GitHub Actions; the path of its summary."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    return tmp_path / "summary.md"


def obeyed(text):
    """The lines that the runner takes for commands: `::` first in a line, `##[` anywhere."""
    return [line for line in text.splitlines() if line.lstrip().startswith("::") or "##[" in line]


def read(line):
    """A command's kind, properties and message, unescaped as the runner does."""
    kind, properties, message = COMMAND.fullmatch(line).groups()
    pairs = dict(part.split("=", 1) for part in properties.split(","))
    for code, sign in (("%3A", ":"), ("%2C", ",")):
        pairs = {key: value.replace(code, sign) for key, value in pairs.items()}
    unescaped = {key: plain(value) for key, value in pairs.items()}
    return kind, unescaped, plain(message)


def plain(text):
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def test_elsewhere_nothing_is_told(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "s"))
    github.annotate(zoo.REPORTS["fail"])
    github.summarize(zoo.REPORTS["fail"])
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "s").exists()
    assert workflow.defused("::error::x ##[y") == "::error::x ##[y"


@pytest.mark.usefixtures("job")
def test_annotations():
    lines = list(github.commands(zoo.REPORTS["fail and incomplete"]))
    assert [read(line) for line in lines] == [
        (
            "error",
            {"file": "lipaudit.toml", "line": "7", "title": "lipaudit: budget a-fail fails"},
            "a-fail: fail: fail: 15.25 proved, 20 allowed",
        ),
        (
            "error",
            {"file": "mnist_cnn.onnx", "title": "lipaudit: LIP101 in features.3"},
            "no rule for aten.foo.default: the bound stops here; advice: replace it by a supported operation",
        ),
    ]
    kinds = [read(line)[0] for line in github.commands(zoo.REPORTS["waived"])]
    assert kinds == ["notice", "notice"]
    assert "(layers: conv2)" in next(github.commands(zoo.REPORTS["waived in part"]))
    assert list(github.commands(zoo.REPORTS["pass"])) == []


def test_files_are_named_as_in_the_repository(job):
    files = [job.parent / "models" / "mnist_cnn.onnx", job.parent / "ci" / "lipaudit.toml"]
    told = [read(line)[1]["file"] for line in github.commands(zoo.REPORTS["fail and incomplete"], files)]
    assert told == ["ci/lipaudit.toml", "models/mnist_cnn.onnx"]


@pytest.mark.usefixtures("job")
def test_at_most_nine_the_worst_first():
    lines = list(github.commands(zoo.REPORTS["hostile"]))
    assert len(lines) == github.MOST
    assert all(line.startswith("::error ") for line in lines[:-1])
    total = len(zoo.HOSTILE) * 2
    assert (
        lines[-1] == f"::notice title=lipaudit::{total - 8} more: the job's summary and the report have them"
    )


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("name", zoo.HOSTILE)
def test_names_stay_in_their_place(name):
    finding = sample.finding("error").model_copy(update={"layer": name, "message": name, "advice": ""})
    (line,) = github.commands(sample.report("incomplete", findings=(finding,)))
    kind, properties, message = read(line)
    assert (kind, set(properties)) == ("error", {"file", "title"})
    assert "\n" not in line
    assert message == printable(name)
    assert properties["title"] == f"lipaudit: LIP101 in {printable(name)}"


def test_an_audit_tells_the_job(run, pipeline, model, job):
    pipeline.report = zoo.REPORTS["fail"]
    done = run(model, "-q")
    assert done.code == 1
    assert obeyed(done.out) == []
    assert [read(line)[0] for line in obeyed(done.err)] == ["error", "warning"]
    assert job.read_text(encoding="utf-8") == "\n" + to_markdown(zoo.REPORTS["fail"])
    run(model, "-q")
    assert job.read_text(encoding="utf-8").count("## lipaudit: FAIL") == 2


@pytest.mark.parametrize("verdict", ["pass", "fail"])
@pytest.mark.parametrize("options", [[], ["-q"], ["-o", "json=-"]])
def test_the_summary_of_a_step_that_could_not_write_is_no_verdict(
    run, pipeline, model, job, verdict, options
):
    """The report is written after the judgement: the summary tells how the step ends."""
    folder = job.parent / "goes"
    folder.mkdir()
    pipeline.report = zoo.REPORTS[verdict]
    pipeline.action = folder.rmdir
    done = run(model, "-o", folder / "r.json", *options)
    assert done.code == 2
    text = job.read_text(encoding="utf-8")
    head, ends = [line for line in text.splitlines() if line][:2]
    assert head == "## lipaudit: NOT WRITTEN for `mnist_cnn.onnx`"
    assert ends.startswith("**NOT WRITTEN**, exit code 2: ")
    assert f"**{verdict.upper()}**" not in text
    assert "exit code 0" not in text


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("stopped", [KeyboardInterrupt, UsageError("no space left"), OSError, MemoryError])
def test_a_gate_that_could_not_write_summarizes_no_verdict(run, job, monkeypatch, stopped):
    def stop(*_):
        raise stopped

    (job.parent / "r.json").write_text(to_json(sealed(sample.report())), encoding="utf-8")
    monkeypatch.setattr(outputs, "_write_one", stop)
    again = job.parent / "again.json"
    done = run("gate", job.parent / "r.json", "--no-policy", "--max-lipschitz", "20", "-o", again)
    assert done.code not in (0, 1, 3)
    assert f"NOT WRITTEN (exit {done.code}: " in done.out
    text = job.read_text(encoding="utf-8")
    assert f"**NOT WRITTEN**, exit code {done.code}: " in text
    assert "lipaudit: PASS" not in text


def test_a_screen_that_cannot_be_written_leaves_no_verdict_in_the_summary(
    run, pipeline, model, job, monkeypatch
):
    def closed(_):
        raise BrokenPipeError

    pipeline.report = zoo.REPORTS["pass"]
    monkeypatch.setattr(streams, "write_screen", closed)
    assert run(model).code == 70
    assert not job.exists()


@pytest.mark.usefixtures("job")
def test_a_name_gives_no_orders(run, pipeline, model):
    pipeline.report = zoo.REPORTS["hostile"]
    done = run(model)
    assert obeyed(done.out) == []
    assert len(obeyed(done.err)) == github.MOST
    assert "\\::error" in done.out
    assert obeyed(run(model, "-o", "text=-").out) == []


@pytest.mark.usefixtures("job")
def test_an_audit_that_cannot_be_done_is_an_annotation(run, tmp_path):
    done = run(tmp_path / "\n::stop-commands::x, 100%.onnx")
    assert done.code == 5
    kind, properties, message = read(*obeyed(done.err))
    assert (kind, properties) == ("error", {"title": "lipaudit: input unavailable"})
    assert message == f"no such file: {tmp_path}/\n  ::stop-commands::x, 100%.onnx"
    assert run("--max-lipschitz").err.count("::error ") == 1


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::add-mask::x", "\\::add-mask::x"),
        ("a\n  ::error::x\n\n::b", "a\n\\  ::error::x\n\n\\::b"),
        ("a ##[error]b", "a #\\#[error]b"),
        ("a::b # #[c]", "a::b # #[c]"),
    ],
)
def test_defused(text, shown):
    assert workflow.defused(text) == shown
    assert obeyed(shown) == []


@pytest.mark.usefixtures("job")
def test_data_stay_data(run, pipeline, model):
    pipeline.report = zoo.REPORTS["hostile"]
    outside = run(model, "-o", "json=-").out
    assert "##[error]forged" in outside


def test_the_summary_has_an_end(job, capsys):
    job.write_bytes(b"x" * (github.SUMMARY - 2000))
    github.summarize(zoo.REPORTS["fail"])
    text = job.read_text(encoding="utf-8")
    assert len(text.encode()) <= github.SUMMARY
    assert text.endswith("as it is too long: the JSON report has all.\n")
    job.write_bytes(b"x" * github.SUMMARY)
    github.summarize(zoo.REPORTS["fail"])
    assert job.stat().st_size == github.SUMMARY
    capsys.readouterr()


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("place", ["", "no/such/folder/s.md", ".", "nul\0.md"])
def test_a_summary_that_cannot_be_written_changes_nothing(run, pipeline, model, monkeypatch, place):
    if "\0" in place:
        monkeypatch.setattr(github.os, "environ", {**github.os.environ, "GITHUB_STEP_SUMMARY": place})
    else:
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", place)
    pipeline.report = zoo.REPORTS["inconclusive"]
    done = run(model)
    assert done.code == 1
    assert done.out.splitlines()[-1].startswith("INCONCLUSIVE")
    assert ("summary was not written" in done.err) == bool(place)

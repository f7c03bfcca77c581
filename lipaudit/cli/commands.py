"""The commands: arguments in, a function that does the work out.

Nothing is done while the parser is on the stack.  A command's parameters are its options, which is
why these functions have more of them than any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Annotated, Any

import typer

from lipaudit.cli import attest_options as a
from lipaudit.cli import clip_options as r
from lipaudit.cli import compare_options as k
from lipaudit.cli import convert_options as c
from lipaudit.cli import diff_options as d
from lipaudit.cli import options as o
from lipaudit.cli import policy_options as p
from lipaudit.cli import running
from lipaudit.cli import spectrum_options as s
from lipaudit.cli import verify_options as v
from lipaudit.cli.request import AuditRequest
from lipaudit.errors import ExitCode

__all__ = ["COMMANDS", "FIRST_WORDS", "command_in", "command_named", "parse"]

Work = Callable[[], ExitCode]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
_policy = typer.Typer(add_completion=False, rich_markup_mode=None)
_baseline = typer.Typer(add_completion=False, rich_markup_mode=None)
app.add_typer(_policy, name="policy", add_help_option=False)
app.add_typer(_baseline, name="baseline", add_help_option=False)


@app.command("audit", add_help_option=False)
def _audit(  # noqa: PLR0913, PLR0917 -- one parameter per option
    model: o.Model,
    dataset: o.DatasetName = "none",
    limit: o.Limit = None,
    eps: o.Eps = None,
    max_lipschitz: o.MaxLipschitz = None,
    min_certified: o.MinCertified = None,
    arch: o.Arch = None,
    device: o.Device = "auto",
    output: o.Output = None,
    quiet: o.Quiet = False,  # noqa: FBT002 -- a flag
    verbose: o.Verbose = 0,
    color: o.Color = "auto",
    all_layers: o.AllLayers = False,  # noqa: FBT002 -- a flag
    data_dir: o.DataDir = None,
    offline: o.Offline = False,  # noqa: FBT002 -- a flag
    resize: o.Resize = None,
    crop: o.Crop = None,
    seed: o.Seed = None,
    allow_global: o.AllowGlobal = None,
    trust_pickle: o.TrustPickle = None,
    input_shape: o.InputShape = None,
    logits: o.Logits = None,
    mean: o.Mean = None,
    std: o.Std = None,
    scale: o.Scale = None,
    layout: o.Layout = None,
    threat_space: o.ThreatSpace = "pixel",
    method: o.MethodName = None,
    profile: o.ProfileName = "balanced",
    memory: o.Memory = "2GiB",
    no_attack: o.NoAttack = False,  # noqa: FBT002 -- a flag
    plot: o.Plot = None,
    policy: p.PolicyFile = None,
    no_policy: p.NoPolicy = False,  # noqa: FBT002 -- a flag
) -> Work:
    """Bound the network's l2 Lipschitz constant and certify radii on a data set."""
    given = dict(locals())
    given["eps"], given["min_certified"], given["output"] = eps or (), min_certified or (), output or ()
    given["allow_global"], given["method"], given["plot"] = allow_global or (), method or (), plot or ()
    return partial(running.run_audit, AuditRequest(**given))


@app.command("compare", add_help_option=False)
def _compare(  # noqa: PLR0913, PLR0917 -- one parameter per option
    models: k.Models,
    dataset: o.DatasetName = "none",
    limit: o.Limit = None,
    eps: o.Eps = None,
    arch: k.Arches = None,
    batch: k.Batch = 256,
    train_cost: k.TrainCost = False,  # noqa: FBT002 -- a flag
    train_arch: k.TrainArches = None,
    no_cost: k.NoCost = False,  # noqa: FBT002 -- a flag
    device: o.Device = "auto",
    as_json: k.AsJson = False,  # noqa: FBT002 -- a flag
    output: k.Output = None,
    plot: k.Plot = None,
    quiet: k.Quiet = False,  # noqa: FBT002 -- a flag
    verbose: k.Verbose = 0,
    data_dir: o.DataDir = None,
    offline: o.Offline = False,  # noqa: FBT002 -- a flag
    resize: o.Resize = None,
    crop: o.Crop = None,
    seed: o.Seed = None,
    allow_global: o.AllowGlobal = None,
    input_shape: o.InputShape = None,
    mean: o.Mean = None,
    std: o.Std = None,
    scale: o.Scale = None,
    layout: o.Layout = None,
    threat_space: o.ThreatSpace = "pixel",
    profile: o.ProfileName = "balanced",
    memory: o.Memory = "2GiB",
    no_attack: o.NoAttack = False,  # noqa: FBT002 -- a flag
) -> Work:
    """Audit several models and show them side by side: bounds, certified accuracy, size, time, memory."""
    given = dict(locals())
    own = {name: given.pop(name) for name in ("models", "batch", "train_cost", "no_cost", "as_json")}
    own |= {"arches": given.pop("arch") or (), "trained": given.pop("train_arch") or ()}
    own["output"] = given.pop("output") or ()
    own["plot"] = given.pop("plot") or ()
    given["eps"], given["allow_global"] = eps or (), allow_global or ()
    return partial(running.run_compare, own, AuditRequest(model="", no_policy=True, **given))


@app.command("spectrum", add_help_option=False)
def _spectrum(  # noqa: PLR0913, PLR0917 -- one parameter per option
    model: o.Model,
    top: s.Top = 10,
    layer: s.Layers = None,
    everything: s.Everything = False,  # noqa: FBT002 -- a flag
    as_json: s.AsJson = False,  # noqa: FBT002 -- a flag
    output: s.Output = None,
    plot: s.Plot = None,
    arch: o.Arch = None,
    device: o.Device = "auto",
    quiet: s.Quiet = False,  # noqa: FBT002 -- a flag
    verbose: k.Verbose = 0,
    allow_global: o.AllowGlobal = None,
    trust_pickle: o.TrustPickle = None,
    input_shape: o.InputShape = None,
    logits: o.Logits = None,
    mean: o.Mean = None,
    std: o.Std = None,
    scale: o.Scale = None,
    layout: o.Layout = None,
    threat_space: o.ThreatSpace = "pixel",
    profile: o.ProfileName = "balanced",
    memory: o.Memory = "2GiB",
) -> Work:
    """Show the largest singular values of every linear layer beside its certified bound."""
    given = dict(locals())
    own = {name: given.pop(name) for name in ("top", "everything", "as_json")}
    own |= {"layers": given.pop("layer") or (), "output": given.pop("output") or ()}
    own["plot"] = given.pop("plot") or ()
    given["allow_global"] = allow_global or ()
    return partial(running.run_spectrum, own, AuditRequest(no_policy=True, **given))


@app.command("clip", add_help_option=False)
def _clip(  # noqa: PLR0913, PLR0917 -- one parameter per option
    model: o.Model,
    lipschitz: r.Lipschitz = None,
    layer_norm: r.LayerNorm = None,
    how: r.How = "fastclip",
    biases: r.Biases = "fit",
    layer: r.Layers = None,
    output: r.Output = None,
    force: r.Force = False,  # noqa: FBT002 -- a flag
    as_json: r.AsJson = False,  # noqa: FBT002 -- a flag
    dataset: o.DatasetName = "none",
    limit: o.Limit = None,
    eps: o.Eps = None,
    arch: o.Arch = None,
    device: o.Device = "auto",
    quiet: r.Quiet = False,  # noqa: FBT002 -- a flag
    verbose: k.Verbose = 0,
    data_dir: o.DataDir = None,
    offline: o.Offline = False,  # noqa: FBT002 -- a flag
    resize: o.Resize = None,
    crop: o.Crop = None,
    seed: o.Seed = None,
    allow_global: o.AllowGlobal = None,
    trust_pickle: o.TrustPickle = None,
    input_shape: o.InputShape = None,
    logits: o.Logits = None,
    mean: o.Mean = None,
    std: o.Std = None,
    scale: o.Scale = None,
    layout: o.Layout = None,
    threat_space: o.ThreatSpace = "pixel",
    profile: o.ProfileName = "balanced",
    memory: o.Memory = "2GiB",
    no_attack: o.NoAttack = False,  # noqa: FBT002 -- a flag
) -> Work:
    """Make a network's weights smaller until a bound is certified; write the model that has it."""
    given = dict(locals())
    own = {name: given.pop(name) for name in ("lipschitz", "layer_norm", "how", "biases", "force", "as_json")}
    own |= {"layers": given.pop("layer") or (), "output": given.pop("output") or ()}
    given["eps"], given["allow_global"] = eps or (), allow_global or ()
    return partial(running.run_clip, own, AuditRequest(no_policy=True, **given))


@app.command("diff-model", add_help_option=False)
def _diff_model(  # noqa: PLR0913, PLR0917 -- one parameter per option
    a: d.First,
    b: d.Second,
    arch: d.ArchA = None,
    arch_b: d.ArchB = None,
    dataset: d.Samples = "none",
    limit: d.Most = None,
    data_dir: o.DataDir = None,
    offline: o.Offline = False,  # noqa: FBT002 -- a flag
    input_shape: o.InputShape = None,
    tolerance: d.Tolerance = 1e-4,
    as_json: d.AsJson = False,  # noqa: FBT002 -- a flag
) -> Work:
    """Tell whether two files hold the same model, and where they part. Exit 1 if not."""
    given = dict(locals())
    return partial(running.run_diff, given)


@app.command("convert", add_help_option=False)
def _convert(report: c.Source, output: c.Targets = None) -> Work:
    """Write a JSON report in other formats. Exit 0 when written, whatever its verdict."""
    return partial(running.run_convert, report, output or ())


@app.command("attest", add_help_option=False)
def _attest(report: a.Report, key: a.Key = None, output: a.Output = None) -> Work:
    """Sign a JSON report's evidence: an in-toto statement about the model's files, in a DSSE envelope."""
    return partial(running.run_attest, report, key, output)


@app.command("keygen", add_help_option=False)
def _keygen(key: a.NewKey, encrypt: a.Encrypt = False) -> Work:  # noqa: FBT002 -- a flag
    """Make an Ed25519 key pair for `attest`: KEY.pem, and KEY.pub.pem to give away. Replaces nothing."""
    return partial(running.run_keygen, key, encrypt)


@app.command("gate", add_help_option=False)
def _gate(  # noqa: PLR0913, PLR0917 -- one parameter per option
    report: p.Report,
    policy: p.PolicyFile = None,
    no_policy: p.NoPolicy = False,  # noqa: FBT002 -- a flag
    max_lipschitz: o.MaxLipschitz = None,
    min_certified: o.MinCertified = None,
    output: p.Rejudged = None,
    quiet: p.ReportQuiet = False,  # noqa: FBT002 -- a flag
    color: o.Color = "auto",
) -> Work:
    """Judge a JSON report again, without its model. Exit code as an audit's."""
    given = {**locals(), "min_certified": min_certified or (), "output": output or ()}
    return partial(running.run_gate, given)


@app.command("diff", add_help_option=False)
def _diff(a: p.OldReport, b: p.NewReport, as_json: p.AsJson = False) -> Work:  # noqa: FBT002 -- a flag
    """Tell what moved between two JSON reports."""
    return partial(running.run_report_diff, a, b, as_json=as_json)


@_policy.command("init", add_help_option=False)
def _policy_init(file: p.PolicyName = None) -> Work:
    """Write a commented lipaudit.toml."""
    return partial(running.run_policy, "init", file)


@_policy.command("check", add_help_option=False)
def _policy_check(file: p.PolicyName = None) -> Work:
    """Validate a policy and say what it asks for."""
    return partial(running.run_policy, "check", file)


@_baseline.command("update", add_help_option=False)
def _baseline_update(
    report: p.Report,
    policy: p.PolicyFile = None,
    allow_increase: p.AllowIncrease = False,  # noqa: FBT002 -- a flag
) -> Work:
    """Make a report the baseline of the policy's ratchets."""
    return partial(running.run_baseline, dict(locals()))


@app.command("explain", add_help_option=False)
def _explain(words: Annotated[list[str] | None, typer.Argument(metavar="[WORD]")] = None) -> Work:
    """Tell what a finding, verdict, exit code, method or number means, e.g. LIP101."""
    return partial(running.run_explain, tuple(words or ()))


@app.command("verify", add_help_option=False)
def _verify(  # noqa: PLR0913, PLR0917 -- one parameter per option
    report: v.Report,
    model: v.Model = "",
    key: v.Key = None,
    dataset: v.Samples = "none",
    recheck: v.Recheck = None,
    seed: v.Seed = None,
    arch: o.Arch = None,
    allow_global: o.AllowGlobal = None,
    trust_pickle: o.TrustPickle = None,
    data_dir: o.DataDir = None,
    offline: o.Offline = False,  # noqa: FBT002 -- a flag
    policy: v.Policy = None,
    memory: o.Memory = "2GiB",
    quiet: o.Quiet = False,  # noqa: FBT002 -- a flag
    as_json: v.AsJson = False,  # noqa: FBT002 -- a flag
) -> Work:
    """Prove a report's or an attestation's claims again from the model. Exit 4 if one is not so."""
    given = dict(locals())
    given["allow_global"] = allow_global or ()
    return partial(running.run_verify, given)


@app.command("schema", add_help_option=False)
def _schema(
    attestation: a.Attestation = False,  # noqa: FBT002 -- a flag
    comparison: a.Comparison = False,  # noqa: FBT002 -- a flag
    spectrum: a.Spectrum = False,  # noqa: FBT002 -- a flag
    repair: a.Repair = False,  # noqa: FBT002 -- a flag
) -> Work:
    """Print the JSON Schema of the JSON report."""
    asked = {"attestation": attestation, "comparison": comparison, "spectrum": spectrum, "repair": repair}
    return partial(running.print_schema, **asked)


COMMANDS: tuple[str, ...] = (
    "audit",
    "compare",
    "spectrum",
    "clip",
    "gate",
    "policy init",
    "policy check",
    "baseline update",
    "diff",
    "convert",
    "explain",
    "attest",
    "keygen",
    "verify",
    "diff-model",
    "schema",
)
"""Every command, in the order `--help` lists them; some are two words."""

FIRST_WORDS = tuple(dict.fromkeys(name.split()[0] for name in COMMANDS))
"""Every first word that is no model."""


def command_in(arguments: Sequence[str]) -> str:
    """The command that a command line begins with, by its name in `COMMANDS`; "" if there is none."""
    return next((name for name in COMMANDS if [*arguments[:2]][: len(name.split())] == name.split()), "")


@cache
def _parser() -> Any:  # noqa: ANN401 -- as below
    """All commands, as the parser sees them; building them takes milliseconds each time."""
    return typer.main.get_command(app)


def command_named(name: str) -> Any:  # noqa: ANN401 -- the parser's classes have moved between its versions
    """The parser's description of a command: its docstring and its parameters."""
    found = _parser()
    for word in name.split():
        found = found.commands[word]
    return found


def parse(arguments: list[str]) -> Work:
    """What a command line asks for.

    Raises:
        typer.BadParameter: (or another of the parser's errors) if it cannot be meant.
        KeyboardInterrupt: if the user interrupts.
    """
    work: Any = _parser().main(args=arguments, prog_name="lipaudit", standalone_mode=False)
    if not callable(work):  # the parser turned an interrupt into its exit code
        raise KeyboardInterrupt
    done: Work = work
    return done

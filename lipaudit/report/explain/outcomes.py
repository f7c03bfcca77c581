"""Verdicts, outcomes of budgets, and exit codes."""

from __future__ import annotations

from functools import partial

from lipaudit.report.explain.entry import Entry

__all__ = ["OUTCOMES"]

_verdict = partial(Entry, kind="verdict")
_code = partial(Entry, kind="exit code")

OUTCOMES: tuple[Entry, ...] = (
    _verdict(
        name="pass",
        short="Every budget is met, and the analysis is complete.",
        why="Only pass is green. Bounds and certified accuracy are met by proof, clean accuracy by a count, "
        "conditions on the audit by what the report says of itself. Without a budget it says that everything "
        "was analysed, not that the numbers are good.",
        todo="Set budgets, so that a change for the worse fails: --max-lipschitz, --min-certified.",
    ),
    _verdict(
        name="fail",
        short="A witness breaks a budget: no method could prove it met.",
        why="The network itself is too sensitive, or too often wrong; a tighter bound would not help. This "
        "is told even if something else could not be analysed.",
        todo="Retrain or rescale the layers named under `next`, or change the budget.",
    ),
    _verdict(
        name="inconclusive",
        short="A budget lies between what was proved and what was witnessed: it is not decided.",
        why="The network may be good enough; the proof is not. It is not green: exit code 1.",
        todo="Spend more on the bound (--profile tight), lower the gain of the costliest layers, or train "
        "for certified robustness.",
    ),
    _verdict(
        name="incomplete",
        short="Something could not be analysed: an operation without a bound, NaN outputs, accuracy near "
        "chance, an unknown preprocessing; or the audit was interrupted.",
        why="What was not analysed is never green.",
        todo="Read the findings of level error; each says what to do.",
    ),
    _code(
        name="exit 0",
        short="Every budget passes (or none was set), and the analysis is complete.",
        why="The only code with which a CI job should go on.",
    ),
    _code(
        name="exit 1",
        short="A budget fails by witness, or stays inconclusive; no clipped model; models that differ.",
        why="The verdict on the last line says which of the two. A failing budget precedes an incomplete "
        "analysis, an inconclusive one follows it. `lipaudit clip` ends with 1 where no network was found "
        "that keeps the limit, and writes nothing; `lipaudit diff-model` where the models differ.",
        todo="See `lipaudit explain fail` and `lipaudit explain inconclusive`.",
    ),
    _code(
        name="exit 2",
        short="The command line, the configuration or a policy cannot be meant.",
        why="An unknown flag, a budget of nan, infinity or less than 0, a certified-accuracy budget without "
        "a data set, or a report that cannot be written where it was asked for. Nothing is guessed.",
        todo="The message names the flag, the hint what to write; `lipaudit --help-all` lists all of them.",
    ),
    _code(
        name="exit 3",
        short="The analysis is incomplete.",
        why="An operation without a bound, NaN or infinite outputs, no sample evaluated, accuracy near "
        "chance, or a preprocessing that cannot be told. The report is written and says what is missing.",
        todo="Read the findings of level error.",
    ),
    _code(
        name="exit 4",
        short="The input is here and was refused.",
        why="Empty, truncated or no model, a Git-LFS pointer, NaN weights, an unsafe pickle, a conversion "
        "that computes something else, shapes or labels that disagree. Nothing of it was run, and no report "
        "is written.",
        todo="The hint says what is acceptable instead.",
    ),
    _code(
        name="exit 5",
        short="The input is not where it was said to be.",
        why="No such file, a data set that is found nowhere, or no network where one is needed. No report "
        "is written.",
        todo="Check the path; see --data-dir and --offline.",
    ),
    _code(
        name="exit 70",
        short="An internal error, or a claim of ours that our own attack beat.",
        why="Every exception that nobody foresaw ends with 70, never with 1: a crash is no failed budget.",
        todo="Please report it; -v shows where it happened.",
    ),
    _code(
        name="exit 130",
        short="Interrupted (Ctrl-C).",
        why="What an audit had finished is written to every -o and shown, with verdict incomplete and "
        "LIP307; `compare` keeps the models and `spectrum` the layers that were finished. Before anything is "
        "proved nothing is written, and older reports stay as they were. A second Ctrl-C ends at once.",
        todo="Audit again; see `lipaudit explain LIP307`.",
        also=("interrupted",),
    ),
)

"""Words of policies: clauses of `[require]` as reports name them, states of waivers; and profiles."""

from __future__ import annotations

from functools import partial

from lipaudit.report.explain.entry import Entry

__all__ = ["POLICIES"]

_term = partial(Entry, kind="term")

POLICIES: tuple[Entry, ...] = (
    _term(
        name="require.min_samples",
        short="So many samples must be evaluated, at least.",
        why="A certified share of ten samples is hardly a number. --limit makes fewer.",
        todo="Audit with a larger --limit, or without one.",
        also=("min_samples",),
    ),
    _term(
        name="require.dataset",
        short="The data set must be called so, as the report spells it.",
        why="A name is no more than that: require.dataset_fingerprint tells samples apart.",
        todo="Audit with --dataset, or write the name that `evidence.dataset` has.",
        also=("dataset", "data set"),
    ),
    _term(
        name="require.dataset_fingerprint",
        short="The samples must be these: SHA-256 over the decoded images and labels, in their order.",
        why="Counts over other samples are no worse and no better, they are other counts.",
        todo="Audit the same samples, --limit and --seed included; or take the new digest from the report.",
        also=("dataset_fingerprint", "fingerprint", "fingerprint_sha256"),
    ),
    _term(
        name="require.official",
        short="Digests must show that the samples are the published data set.",
        why="A file that is called cifar10 may hold anything. It fails where digests differ, and is "
        "inconclusive where nobody published any.",
        todo="Let the data set be downloaded, or put the published files where they are looked for.",
        also=("official",),
    ),
    _term(
        name="require.trust",
        short="The model must have been read so: `data only`, or with what was run for it.",
        why="A pickle or an --arch file that was run could do anything while the model was read.",
        todo="Keep weights as safetensors or the model as ONNX; or list what the report says under "
        "`evidence.model.trust`.",
    ),
    _term(
        name="require.coverage",
        short="So large a share of the layers must have a finite bound, and the network as well.",
        why="One layer without a bound leaves the network without one, so that less than 100% is only for "
        "those who look at layers.",
        todo="Replace the operations that LIP101 names.",
        also=("coverage",),
    ),
    _term(
        name="require.attacked",
        short="Somebody must have tried to refute the claims.",
        why="A search that finds nothing proves nothing, and is never repeated: `lipaudit verify` ends with "
        "exit 3 by a policy that asks for it, not with 0.",
        todo="Audit without --no-attack; leave the clause out where reports are verified or attestations "
        "judged.",
        also=("attacked",),
    ),
    _term(
        name="require.threat_space",
        short="Distances must be measured there: pixel, input (behind scale, mean and std) or file.",
        why="A radius in one unit is none in another. It also says in which unit the budgets are meant.",
        todo="Audit with or without --threat-space input, as the policy says.",
    ),
    _term(
        name="require.weights_sha256",
        short="The report must be about exactly these weights.",
        why="It ties the policy to a model, not to the file that lies here: whether that is the one that was "
        "audited is told by `lipaudit verify REPORT --model FILE`.",
        todo="After a new training, write the new `evidence.model.weights_sha256`.",
        also=("weights_sha256",),
    ),
    _term(
        name="require.arithmetic",
        short="The radii must hold in this arithmetic; `real` is the only one there is.",
        why="The rounding of a deployed float32 program is not included; see `lipaudit explain limits`.",
        also=("arithmetic",),
    ),
    _term(
        name="unused",
        short="A waiver that excuses nothing: its budget passes, or its layers do.",
        why="It would silently excuse the next change for the worse.",
        todo="Remove it, or correct the names in it; see `lipaudit explain LIP402`.",
    ),
    _term(
        name="expired",
        short="A waiver whose last day has passed: its budget counts again.",
        why="The last day is that of UTC, or of SOURCE_DATE_EPOCH, which can end a waiver but not revive it.",
        todo="Fix what it excused, or have its owner renew it; see `lipaudit explain LIP401`.",
    ),
    _term(
        name="profile",
        short="How much time a tighter bound is worth: fast, balanced (the default) or tight.",
        why="It decides how long a layer's bracket is worked on and how large a part is bounded as a whole. "
        "Bounds are proved in each.",
        todo="--profile tight looks longer, --profile fast takes a tenth of the work.",
        also=("fast", "balanced", "tight"),
    ),
)

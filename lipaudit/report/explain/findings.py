"""The findings: every rule that a report can carry."""

from __future__ import annotations

from functools import partial

from lipaudit.report.explain.entry import Entry

__all__ = ["FINDINGS"]

_finding = partial(Entry, kind="finding")

FINDINGS: tuple[Entry, ...] = (
    _finding(
        name="LIP101",
        short="A layer has no bound, so the network has none.",
        why="No rule says how far this operation can amplify a change, or it can amplify without limit (a "
        "product of two live values, a division by one, a jump). It is never taken for 1: whatever lies "
        "behind it is unbounded, no radius is certified, and the audit is incomplete.",
        todo="Replace the operation by one with a bounded slope, bound its input before it (clamp), or cut "
        "it off if it is not part of what is deployed. The message names the operation and the line it "
        "comes from.",
    ),
    _finding(
        name="LIP102",
        short="The method asked for with --method has no statement about some layers; the others were asked "
        "there.",
        why="The bound is as valid as ever, but for these layers it is not the method's you named. Whoever "
        "compares methods would otherwise compare the wrong numbers.",
        todo="Leave --method out, or name a method that covers these layers; -v shows what each one proved.",
    ),
    _finding(
        name="LIP103",
        short="Every layer has a bound, but the network has none.",
        why="The constants of the layers are so large that their product is beyond the largest number that "
        "a float64 holds (about 1.8e308). No radius is certified and nothing was proved about the network, "
        "so the audit is incomplete, whatever the budgets are.",
        todo="Look at `running` in the report, or at the table of layers, for where the product explodes, "
        "and normalise these layers. Weights of 1e38 are more often a broken export than a network.",
    ),
    _finding(
        name="LIP201",
        short="A layer provably amplifies: a witness shows a constant above 1.",
        why="It is reported where a budget on the Lipschitz constant is not met. In a network that is meant "
        "to be 1-Lipschitz it is the cause: the normalisation is estimated, made for another image size or "
        "padding, or was not applied before export. A layer far above 1 was not normalised at all, as is "
        "usual after ordinary training.",
        todo="Of a 1-Lipschitz network, normalise the layer by its true norm (`lipaudit MODEL -v` shows it), "
        "then export and audit again; of another one, train for small gains or allow more.",
        reference="Gouk, Frank, Pfahringer, Cree (2021), Regularisation of neural networks by enforcing "
        "Lipschitz continuity, Machine Learning 110",
    ),
    _finding(
        name="LIP202",
        short="A batch of samples is spread wider behind a layer than before it: this step is not "
        "1-Lipschitz.",
        why="A map that is 1-Lipschitz cannot make the variance of a batch grow, so growth is a witness "
        "from below, on your data. It is reported where a Lipschitz budget is not met. No growth proves "
        "nothing.",
        todo="Look at the layer that is named, and at how it was normalised.",
        reference="Prach, Brau, Buttazzo, Lampert (2024), 1-Lipschitz layers compared, CVPR",
        also=("variance", "batch variance"),
    ),
    _finding(
        name="LIP203",
        short="A part that was bounded as a whole is not proved to be 1-Lipschitz.",
        why="Layers inside of such a part may amplify by design; what counts is the part. Where it exceeds "
        "1 by a few 1e-7, that is the rounding of weights, or, at 1e-8, of the proof itself. More is a "
        "wrong normalisation, image size or number of terms, or a scale that the next layer takes back; far "
        "above 1, a part that nothing keeps small.",
        todo="Compare the excess with 1e-6; above it, look at how the block is parametrised.",
    ),
    _finding(
        name="LIP301",
        short="The accuracy is near chance: labels or preprocessing are likely wrong.",
        why="Radii count for correct answers only, so certificates of a model that sees the wrong input say "
        "nothing about the model you deploy. The audit is incomplete.",
        todo="Check --mean, --std, --scale, --layout and the labels' order; compare with the accuracy you "
        "know.",
    ),
    _finding(
        name="LIP302",
        short="Some samples give NaN or infinite outputs.",
        why="Nothing can be certified there, and something is broken. The audit is incomplete.",
        todo="Check the weights, the preprocessing and the range of the images.",
    ),
    _finding(
        name="LIP303",
        short="The images are not pixels in [0, 1], so every distance is in their own unit.",
        why="A radius of 0.5 means another thing for images from -1 to 1 or from 0 to 255. Published "
        "numbers are for pixels in [0, 1] and cannot be compared with these.",
        todo="Store the images as uint8 or in [0, 1], and state what happens to them with --mean and --std.",
    ),
    _finding(
        name="LIP304",
        short="Nobody states the preprocessing, and under no usual one is the accuracy better than chance.",
        why="The network is certified together with what happens to its input. If that is unknown, so is "
        "what was certified. The audit is incomplete.",
        todo="State it: --mean, --std, --scale, --layout, or in the model's metadata. Check the labels.",
    ),
    _finding(
        name="LIP305",
        short="The preprocessing was assumed, and another one may be meant.",
        why="Two conventions do about equally well on your samples. Bounds and radii are those of the one "
        "that is named; under the other they would differ.",
        todo="State the preprocessing with the flags that the finding shows.",
    ),
    _finding(
        name="LIP306",
        short="The preprocessing was assumed while budgets are set: no budget is judged by a guess.",
        why="A gate that passes under one convention and fails under another one is no gate. The audit is "
        "incomplete until somebody says which one is meant.",
        todo="State the preprocessing with the flags that the finding shows, in the command or in the "
        "metadata.",
    ),
    _finding(
        name="LIP307",
        short="The audit was interrupted: the report holds what was finished by then.",
        why="Each layer and sample in it is as proved as ever. It is not the whole: counts are over the "
        "samples that were evaluated, the network has no bound unless every layer has one, and no budget is "
        "judged. The exit code is 130.",
        todo="Audit again; --limit N evaluates fewer samples, --profile fast spends less time on layers.",
    ),
    _finding(
        name="LIP308",
        short="A report of schema 1.0 is judged: it carries no digest of its evidence.",
        why="Later reports carry a digest by which a change made by accident is found. Of this one nobody "
        "can tell whether its numbers are those of the audit, so that a gate does not let it pass.",
        todo="Audit the model again with this version, and judge that report.",
    ),
    _finding(
        name="LIP309",
        short="Distances are measured behind scale, mean and std, not in pixels of [0, 1].",
        why="The audit ran with --threat-space input. A division by std makes every distance larger, and "
        "radii with it, so the numbers cannot be compared with published ones. A budget on a radius or a "
        "Lipschitz constant is judged there only if the policy says so.",
        todo='Leave --threat-space out, or write threat_space = "input" under [require] of the policy.',
    ),
    _finding(
        name="LIP401",
        short="A waiver has expired: the budget it excused counts again.",
        why="An exception without an end is a budget that nobody keeps. The last day it held is in the "
        "policy file.",
        todo="Fix what was excused, or have its owner renew the waiver with a new date and reason.",
    ),
    _finding(
        name="LIP402",
        short="A waiver is not used: the budget or the layers it names need no exception, or do not exist.",
        why="It would silently excuse the next change for the worse.",
        todo="Remove it from the policy file, or correct the names in it.",
    ),
    _finding(
        name="LIP403",
        short="A waiver is in force: a budget that does not pass is excused until the day it says.",
        why="The verdict is green by somebody's decision, not by proof. Owner, reason and date are shown "
        "with it, each time.",
        todo="Nothing today; before it expires, fix what it excuses.",
        also=("waiver", "waived"),
    ),
)

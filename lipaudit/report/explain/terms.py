"""Words of the screen and of the report."""

from __future__ import annotations

from functools import partial

from lipaudit.report.explain.entry import Entry

__all__ = ["TERMS"]

_term = partial(Entry, kind="term")
_MARGIN = "Tsuzuku, Sato, Sugiyama (2018), Lipschitz-margin training, NeurIPS"

TERMS: tuple[Entry, ...] = (
    _term(
        name="lipschitz",
        short="The l2 Lipschitz constant: by how much the network can stretch the distance of two inputs, "
        "at most.",
        why="‖f(x) − f(y)‖₂ ≤ L·‖x − y‖₂ for all inputs, also those that nobody has thought of. A margin "
        "divided by it is a radius within which no perturbation changes the answer.",
        reference="Szegedy et al. (2014), Intriguing properties of neural networks, ICLR, sec. 4.3",
        also=("lipschitz constant", "gain"),
    ),
    _term(
        name="upper",
        short="A proved bound: the true constant is at most this, the rounding of our arithmetic included.",
        why="It is a theorem about the stored weights. It is shown rounded up.",
        also=("bound", "proved"),
    ),
    _term(
        name="lower",
        short="A witnessed value: two inputs (or a direction) were found that are stretched by this much.",
        why="The true constant is at least this, so it shows how loose the bound is at most, and is what a "
        "budget fails by. It is shown rounded down.",
        also=("witness", "witnessed", "estimate"),
    ),
    _term(
        name="bracket",
        short="Upper and lower end together: the true constant lies between them.",
        why="A number without its other end does not tell how good it is.",
    ),
    _term(
        name="slack",
        short="Upper divided by lower: how far the bound may be from the truth.",
        why="1.0001 is tight. For a whole network it may be large; then the constant lies anywhere in "
        "between, and only a smaller upper end makes radii larger.",
        todo="--profile tight for layers; for networks, training that keeps gains small.",
    ),
    _term(
        name="running",
        short="A proved bound on the map from the input up to this layer.",
        why="The last one bounds the network. Where it jumps, sensitivity is lost; where a part was bounded "
        "as a whole, it falls below the product of the layers.",
    ),
    _term(
        name="margin",
        short="How far the score of the predicted class lies above the next one.",
        why="The rounding of our float64 pass is subtracted from it. Large margins and small constants make "
        "large radii.",
        reference=_MARGIN,
    ),
    _term(
        name="radius",
        short="The certified radius of a sample: no input closer than this, in l2 distance, gets another "
        "class.",
        why="The least, over all other classes, of margin divided by the constant of the difference of two "
        "scores. 0 where the answer is wrong. It holds against every attack within that distance, and says "
        "nothing beyond it.",
        reference=_MARGIN,
        also=("certified radius",),
    ),
    _term(
        name="eps",
        short="A radius that was asked about, in contrast to the certified radius of a sample.",
        why="36/255 on images in [0, 1] is what papers report; it is kept as the exact fraction.",
        also=("epsilon",),
    ),
    _term(
        name="certified",
        short="Samples that are answered correctly and provably stay so within a radius.",
        why="An exact count over the samples given, not a promise about those to come.",
        also=("certified accuracy",),
    ),
    _term(
        name="at most",
        short="Samples that no witness rules out: certified accuracy cannot exceed it, whatever the method.",
        why="A wrong answer is certified by no method. The gap to what is certified is what a better proof "
        "could gain.",
        also=("possible",),
    ),
    _term(
        name="threat space",
        short="Where distances are measured: on pixels in [0, 1] before any preprocessing, unless asked "
        "otherwise.",
        why="Dividing by a standard deviation of 0.3 makes the same change three times as large; a radius "
        "without its space means nothing.",
        also=("threat", "pixel"),
    ),
    _term(
        name="attack",
        short="The program tries to refute its own claims before it prints them.",
        why="It looks for a counterexample inside certified radii and for a large output-to-input ratio. A "
        "hit would be a defect of ours (exit 70); none proves nothing, the proof does.",
        reference="Croce, Hein (2020), Reliable evaluation of adversarial robustness, ICML",
        also=("falsification",),
    ),
    _term(
        name="structure",
        short="Parts of the network that were bounded as a whole, because that proves more than their "
        "layers.",
        why="Each line tells the part's bound and what its layers by themselves would have given. In the "
        "table of layers a bar marks what belongs to it, and a row `whole` closes it.",
        todo="`lipaudit explain semidefinite` and the other rules tell how.",
        also=("block", "whole"),
    ),
    _term(
        name="limits",
        short="What this report does not say.",
        why="Above all: theorems are about real arithmetic with the stored weights; the rounding of a "
        "deployed float32 program is not included.",
        reference="Jin, Ohrimenko, Rubinstein (2022), Getting a-round guarantees: floating-point attacks on "
        "certified robustness",
        also=("limitations", "real arithmetic"),
    ),
    _term(
        name="budget",
        short="A limit that the network must keep: it passes, fails by witness, or stays inconclusive.",
        why="Compared with unrounded numbers. Only pass is green.",
        todo="--max-lipschitz 20, --min-certified 36/255:60%.",
        also=("policy",),
    ),
    _term(
        name="not analysed",
        short="— means that nobody looked; 0 never does.",
        why="What is not analysed is never green.",
        also=("—", "-"),
    ),
    _term(
        name="unbounded",
        short="Nothing finite was proved; the note says why.",
        why="What the program does not understand is unbounded, never 1.",
        todo="See `lipaudit explain LIP101`.",
    ),
)

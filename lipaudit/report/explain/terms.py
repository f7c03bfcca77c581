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
        name="curvature",
        short="How fast slopes can change: radii of second order, for networks with one smooth hidden layer.",
        why="Where a difference of scores has slope γ at a sample and can bend by K at most, it falls by at "
        "most γr + Kr²/2 within a distance r. That is often far less than the network's constant allows. The "
        "larger of margin, slope with curvature, and `dual` counts, rival by rival; all are proofs. "
        "Activations: softplus, sigmoid, tanh, gelu, silu, mish, log_sigmoid, sin, cos, atan, asinh, erf.",
        todo="Train with the curvature in the loss, as sample_models/mnist_softplus does.",
        reference="Singla, Feizi (2020), Second-order provable defenses against adversarial attacks, ICML",
        also=("second order", "hessian", "by curvature"),
    ),
    _term(
        name="by margins",
        short="How many samples margins alone would certify, where radii may rest on curvature too.",
        why="Margin divided by the constant of the difference of two scores. The distance to the column "
        "`certified` is what the curvature gains.",
        also=("margins", "margins alone"),
    ),
    _term(
        name="dual",
        short="A radius of second order that is searched for, where slope and curvature alone fall short.",
        why="For η < 1/K, F(x′) = ½‖x′ − x‖² + ηg(x′) is strongly convex, so any point x̂ proves a lower "
        "bound of the distance to the boundary g = 0: √(2(F(x̂) − ‖∇F(x̂)‖²/2m)), m = 1 − ηK. A poor point "
        "only proves less.",
        reference="Singla, Feizi (2020), Second-order provable defenses against adversarial attacks, ICML",
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
        name="clean accuracy",
        short="Samples that are answered correctly as they are, without any change.",
        why="A count, not a proof. No sample that is answered wrongly is certified at any radius, so it is "
        "the ceiling of certified accuracy, and stands in its table as radius 0.",
        also=("clean", "correct answers"),
    ),
    _term(
        name="median radius",
        short="The certified radius that at least half of the samples have.",
        why="Wrong answers count 0, and of two middle samples the lower counts. 0 says that at least half "
        "have no certificate.",
        also=("median certified radius",),
    ),
    _term(
        name="share",
        short="A count over the number of evaluated samples, in percent, rounded down.",
        why="100.00 % means every one. `of` is how many were evaluated, which --limit makes fewer.",
        also=("of",),
    ),
    _term(
        name="pairwise constants",
        short="How the difference of two scores was bounded, which radii are margins over.",
        why="Through the last layers for each pair of classes where that can be done; √2·L, from the bound L "
        "on the whole network, is the fallback and makes smaller radii.",
        reference=_MARGIN,
        also=(
            "√2·L",
            "‖w_y − w_j‖·L of the features",
            "w_y − w_j through the last dense layers",
            "through the last dense layers",
            "w_y",
            "w_y − w_j",
            "L of the single logit",
        ),
    ),
    _term(
        name="counterexample",
        short="A change within a certified radius that gives another answer: there must be none.",
        why="One would refute a proof of ours, so it ends the program with exit 70. The attack looks for "
        "them each time.",
    ),
    _term(
        name="largest ratio seen",
        short="The largest quotient of output and input distance that the attack met.",
        why="A witness from below for the network's constant, from your samples.",
        also=("ratio",),
    ),
    _term(
        name="model",
        short="Which file was audited: its format, layers, classes, the samples and the device.",
        why="The report holds the digests of its files and weights: what is proved is proved of these alone.",
    ),
    _term(
        name="source",
        short="What read the model, whether that ran code, and how the conversion was checked.",
        why="`data only` says that nothing in the file was run. Else it names what was: the --arch file, a "
        "class or a pickle you admitted.",
        also=("trust", "data only", "loader"),
    ),
    _term(
        name="layer",
        short="One operation of the network, by the name that the model gives it.",
        why="`op` is what it does (`lipaudit explain conv2d`), `shape` what it gives, `origin` the line of "
        "source that it comes from.",
        also=("op", "shape", "origin"),
    ),
    _term(
        name="method",
        short="What proved a layer's upper bound: the smallest of several counts.",
        why="It is a spectral method for maps with weights, else a property of the operation, or the rule by "
        "which a part was bounded as a whole. -v shows what each one proved.",
    ),
    _term(
        name="network",
        short="The bound on the whole network, preprocessing included, and what was witnessed from below.",
        why="The brackets name what proved it: the composition of its layers, with the parts that were "
        "bounded as a whole.",
    ),
    _term(
        name="reading",
        short="What the numbers come to, in words.",
        why="It says where they prove little, and which layers are to blame; nothing in it is a judgement.",
    ),
    _term(
        name="next",
        short="What to do now, most useful first.",
        why="Suggestions, by what limits this network most.",
    ),
    _term(
        name="findings",
        short="What a reader must know: error, warning or note, with a rule such as LIP101.",
        why="An error keeps the verdict from being green. Warnings and notes do not.",
        todo="`lipaudit explain LIP101` (or another rule) says more.",
        also=("finding", "error", "warning", "note"),
    ),
    _term(
        name="report",
        short="What an audit found, with everything it rests on; as JSON it can be judged again.",
        why="Its digest finds changes made by accident; an attestation, made with a key, also those made on "
        "purpose.",
        also=("evidence", "digest"),
    ),
    _term(
        name="not written",
        short="A report could not be written where it was asked for, so there is no verdict.",
        why="A gate that cannot leave its evidence is no gate: the exit code is not 0, whatever was found.",
        todo="The message on stderr names the file; write it elsewhere and audit again.",
    ),
    _term(
        name="require",
        short="Conditions of a policy on the audit itself: how many samples, which data, how the model was "
        "read.",
        why="They are compared with what the report says of itself; nothing is proved by them.",
        also=("requirement",),
    ),
    _term(
        name="baseline",
        short="An earlier report that a budget compares with, so that numbers may not get worse.",
        why="A ratchet: it loosens on request alone. Where two reports cannot be compared, it is "
        "inconclusive.",
        also=("ratchet",),
    ),
    _term(
        name="budget",
        short="A limit that the network must keep: it passes, fails by witness, or stays inconclusive.",
        why="Compared with unrounded numbers. Only pass is green.",
        todo="--max-lipschitz 20, --min-certified 36/255:60%.",
        also=("policy",),
    ),
    _term(
        name="measured",
        short="What `lipaudit compare` counted and timed: no proof, true of one machine at one time.",
        why="A time is the median of repeated runs in which the models take turns, so that a busy machine is "
        "busy for all of them; its quartiles stand in brackets. Memory is weights, batch and all tensors at "
        "the worst moment: on a GPU by PyTorch's own count, on a CPU by the records of its allocator.",
        also=("forward ms", "MiB", "quartiles", "machine", "audit s"),
    ),
    _term(
        name="parameters",
        short="Stored floating-point numbers that the exported program reads, shared ones once.",
        why="Parametrisations were replaced by the weights they compute, so this is what is deployed. The "
        "running statistics of a batch norm count, its counter does not.",
    ),
    _term(
        name="training step",
        short="Forward, margin loss, backward and optimiser, on the module that --arch builds.",
        why="There a method pays for its orthogonalisation or rescaling, which the exported program no "
        "longer has. An ONNX file or .pt2 program does not hold that module.",
        todo="`lipaudit compare … --arch net.py:make --train-cost`.",
        reference="Prach, Brau, Buttazzo, Lampert (2024), 1-Lipschitz Layers Compared: Memory, Speed, and "
        "Certifiable Robustness, CVPR",
        also=("train ms",),
    ),
    _term(
        name="compared",
        short="Several models side by side: what is proved about each, and what each costs.",
        why="Shares are only comparable over the same samples and in the same space of distances; where "
        "they are not, a note says so.",
        also=("compare", "notes"),
    ),
    _term(
        name="singular values",
        short="By how much a linear layer amplifies in each of its main directions; the largest is its norm.",
        why="`lipaudit spectrum` shows them beside the certified bound. Each is a lower bound of the true "
        "value in its place, proved by vectors that were multiplied with the layer; ×2 means two that agree, "
        "`or more` that the search may have left out others of them.",
        todo="`lipaudit spectrum model.onnx --top 20 --plot spectra.svg`.",
        reference="Boroojeny, Telgarsky, Sundaram (2024), Spectrum extraction and clipping for implicitly "
        "linear layers; Sedghi, Gupta, Long (2019), The singular values of convolutional layers, ICLR",
        also=("singular value", "spectrum", "multiplicity", "agree", "or more"),
    ),
    _term(
        name="region",
        short="A row of `lipaudit spectrum` called `A … B`: linear layers without an activation between "
        "them, as one map.",
        why="Its norm may be far below the product of theirs, or above each of them. It has no weights of "
        "its own, so `lipaudit clip` changes its layers one by one.",
        also=("regions", "linear regions"),
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

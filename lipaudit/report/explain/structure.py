"""Rules for parts of a network as a whole, and the reasons of gains that no spectral method gives."""

from __future__ import annotations

from functools import partial

from lipaudit.report.explain.entry import Entry

__all__ = ["GAINS", "RULES"]

_rule = partial(Entry, kind="rule")
_gain = partial(Entry, kind="gain")
_SLL = (
    "Araujo, Havens, Delattre, Allauzen, Hu (2023), A unified algebraic perspective on Lipschitz neural "
    "networks, ICLR"
)

RULES: tuple[Entry, ...] = (
    _rule(
        name="skew polynomial",
        short="A truncated exponential (or another polynomial) of a skew-symmetric map: the maximum of "
        "|p(iλ)|.",
        why="The layers of a skew orthogonal convolution (SOC) multiply to a large number; as a whole it is "
        "1, or a little more if there are too few terms for the norm of the kernel.",
        todo="If it exceeds 1 by more than 1e-6, use more terms or a smaller kernel norm.",
        reference="Singla, Feizi (2021), Skew orthogonal convolutions, ICML",
    ),
    _rule(
        name="linear region",
        short="A small part without any activation, evaluated as one matrix.",
        why="The norm of a product or sum of maps may be far below the product or sum of their norms.",
        reference="Horn, Johnson (2013), Matrix Analysis, 2nd ed., 5.6",
    ),
    _rule(
        name="convex potential",
        short="Residual blocks h·x − Wᵀ R φ(Wx + b), as in CPL and SLL.",
        why="As a sum of two paths such a block counts 2 or more, although it is 1-Lipschitz where ‖R^½W‖² "
        "≤ 2. A weight that is not the other one's transpose is measured, not assumed away.",
        reference="Meunier, Delattre, Araujo, Allauzen (2022), A dynamical system perspective for "
        f"Lipschitz neural networks, ICML; {_SLL}",
    ),
    _rule(
        name="sandwich",
        short="Two maps around an activation: half the square of the norm of both, side by side.",
        why="In a Sandwich layer it is 1, while each map by itself has a norm of up to √2.",
        reference="Wang, Manchester (2023), Direct parameterization of Lipschitz-bounded deep networks, ICML",
    ),
    _rule(
        name="averaged",
        short="Dense chains whose activations have slopes in [0, 1]: (‖W₂W₁‖ + ‖W₂‖‖W₁‖)/2.",
        why="Such an activation is the average of the identity and a map of constant 1, so half of the "
        "product of norms is replaced by the norm of the product.",
        reference="Combettes, Pesquet (2020), Lipschitz certificates for layered network structures driven "
        "by averaged activation operators, SIAM J. Math. Data Sci. 2(2)",
    ),
    _rule(
        name="semidefinite",
        short="A matrix inequality with a diagonal multiplier, proved at every frequency.",
        why="It sees how layers, sums and activations with slopes in [0, 1] play together; the tightest "
        "rule, and the dearest. The multipliers stand in the report, so that it can be proved again without "
        "a search.",
        reference="Fazlyab, Robey, Hassani, Morari, Pappas (2019), Efficient and accurate estimation of "
        f"Lipschitz constants for deep neural networks, NeurIPS; {_SLL}",
        also=("sdp", "lmi"),
    ),
)
"""In the order of `blocks.RULES`."""

GAINS: tuple[Entry, ...] = (
    _gain(
        name="composition",
        short="The network's bound follows from its layers: gains multiply along a path and add where paths "
        "meet.",
        why="It is always valid and often loose: a direction that one layer stretches most is rarely the "
        "one that the next stretches most. Parts that were bounded as a whole enter as one factor.",
        also=("product",),
    ),
    _gain(
        name="slope",
        short="An activation applied to each entry: its largest slope.",
        why="1 for ReLU, tanh and absolute value, 1/4 for the sigmoid, about 1.13 for GELU and 1.1 for SiLU.",
        also=("slope ≤ 1",),
    ),
    _gain(
        name="diagonal",
        short="Each entry times a constant of its own: the largest of these constants.",
        why="So are batch normalisation, scales and the division by std bounded, exactly.",
    ),
    _gain(
        name="copies",
        short="An operation that moves entries: the root of how often one of them is copied.",
        why="Reshaping, transposing and slicing are 1; repeating an entry n times is √n.",
    ),
    _gain(
        name="window overlap",
        short="Max pooling: the root of how many windows an entry lies in.",
        why="1 for windows that do not overlap; a 3×3 window of stride 2 counts 2.",
    ),
    _gain(
        name="sorting",
        short="Sorting pairs (MaxMin, GroupSort) or reflecting them: constant 1.",
        why="It keeps the norm of gradients, which makes it the activation of choice in 1-Lipschitz "
        "networks.",
        reference="Anil, Lucas, Grosse (2019), Sorting out Lipschitz function approximation, ICML",
        also=("maxmin", "groupsort"),
    ),
    _gain(
        name="frequency blocks",
        short="A Fourier transform, a matrix per frequency and the way back: the largest norm of these "
        "matrices.",
        why="How Cayley and LOT layers are bounded; the layers by themselves would multiply to more.",
        reference="Trockman, Kolter (2021), Orthogonalizing convolutional layers with the Cayley transform, "
        "ICLR",
        also=("cayley", "lot"),
    ),
    _gain(
        name="jacobian",
        short="A bound on the derivative, written out for this operation.",
        why="For softmax and local response normalisation, whose slope depends on the input. As the method "
        "of a lower end it means that a direction was found in which the derivative is that large.",
    ),
)

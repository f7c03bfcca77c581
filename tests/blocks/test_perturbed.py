"""No bound below what automatic differentiation finds, for blocks with every premise broken in turn.

Of the blocks of a pattern a third is as its family builds it, a third is twisted in its structure, a third
has a spoilt weight (see `perturbed_blocks`).  The first third must be bounded as promised, and by the rules
under test: else the test would judge rules that never fire.
"""

from collections import Counter

import pytest
import torch
from perturbed_blocks import Draw, draw, exported, witness
from perturbed_patterns import PATTERNS
from small_graph import bounded, op_names

from lipaudit.blocks import multiplier, sandwich
from lipaudit.compose import NetworkBound
from lipaudit.errors import InputRefused
from lipaudit.graph.graph import LayerGraph
from lipaudit.load.translate import translate
from lipaudit.passes import simplify

ROUNDING = 1e-12
"""What the witness may err, relatively."""
LEAST = 1e-315
"""… and absolutely: an entry of denormal products has few digits."""
FIRST, CHUNK, LEAST_DRAWS, FAMILY = 6, 100, 300, 500
"""Draws: of the quick test, in a chunk of the slow one, of a pattern, and of a family together."""
THOROUGH = 10
"""Every so many draws multipliers are searched as long as in an audit; else searches, which prove nothing,
are cut short."""
FIRES = 0.9

FAMILIES = Counter(name.split()[0] for name in PATTERNS)
CHUNKS = [
    (name, start) for name in PATTERNS for start in range(0, FAMILY // FAMILIES[name.split()[0]], CHUNK)
]


def judged(drawn: Draw, index: int) -> tuple[LayerGraph, NetworkBound, list[str]]:
    """The graph, its bound, and what is wrong with it."""
    graph = simplify(translate(drawn.program))
    found, wrong = bounded(graph), []
    slope = witness(drawn.module, drawn.shape, index)
    value = found.total.value
    if not value >= slope * (1 - ROUNDING) - LEAST:
        wrong.append(f"{drawn.name}: {value!r} is below {slope!r}")
    promise = drawn.module.pattern.promise
    if drawn.untwisted and promise is not None and not value <= promise * 1.001:
        wrong.append(f"{drawn.name}: {value!r} is above the promised {promise}")
    return graph, found, wrong


def judge(name, start, count, monkeypatch):
    """All that is wrong with these draws; at most a tenth of the untwisted ones may leave the rules idle."""
    pattern, wrong, idle, untwisted = PATTERNS[name], [], [], 0
    searched = multiplier.ADAM_STEPS, multiplier.FACTORS, sandwich.STEPS
    for index in range(start, start + count):
        steps, factors, descent = (0, searched[1][1::3], 10) if index % THOROUGH else searched
        monkeypatch.setattr(multiplier, "ADAM_STEPS", steps)
        monkeypatch.setattr(multiplier, "FACTORS", factors)
        monkeypatch.setattr(sandwich, "STEPS", descent)
        drawn = draw(pattern, index)
        try:
            graph, found, said = judged(drawn, index)
        except (InputRefused, ArithmeticError) as why:  # finite weights; the others are still judged
            wrong.append(f"{drawn.name}: {why!r}")
            continue
        wrong += said
        if drawn.untwisted:
            untwisted += 1
            seen = {claim.bound.method for claim in found.claims} | set(op_names(graph))
            idle += [] if seen & pattern.fires else [drawn.name]
    assert not wrong, "\n".join(wrong)
    assert len(idle) <= (1 - FIRES) * untwisted, "\n".join(idle)


@pytest.mark.parametrize("name", PATTERNS)
def test_no_bound_is_below_a_slope(name, monkeypatch):
    judge(name, 0, FIRST, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "start"), CHUNKS, ids=str)
def test_no_bound_is_below_a_slope_in_many_draws(name, start, monkeypatch):
    judge(name, start, CHUNK, monkeypatch)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_program_reads_the_weights_that_the_module_holds(name):
    """Else all draws of a twist would judge one and the same block."""
    pattern = PATTERNS[name]
    drawn = draw(pattern, 0)
    x = torch.randn(3, *drawn.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = translate(drawn.program).run(x).flatten(1)
    torch.testing.assert_close(before, drawn.module(x).flatten(1))
    for parameter in drawn.module.parameters():
        parameter.mul_(1.5)
    after = translate(drawn.program).run(x).flatten(1)
    torch.testing.assert_close(after, drawn.module(x).flatten(1))
    assert not torch.allclose(before, after)
    assert exported(pattern, next(iter(pattern.spellings)))[0] is drawn.module


def test_the_witness_finds_known_constants():
    """Blocks whose constant is known: isometries, and a convex potential without its second half."""
    for name in ("SOC dense", "sorting pairs", "sorting reflections", "Fourier halves"):
        drawn = draw(PATTERNS[name], 0)
        assert witness(drawn.module, drawn.shape) == pytest.approx(1, abs=1e-3)
    pattern = PATTERNS["CPL dense"]
    module, _ = exported(pattern, "join twice")
    for index in range(0, 30, 3):
        drawn = draw(pattern, index)
        weights = {n: p.clone() for n, p in drawn.module.named_parameters()}
        module.fill({**weights, "b": torch.full_like(weights["b"], 100.0)})
        # x − 2·(2/‖W‖²)WᵀWx, every unit active.
        assert witness(module, drawn.shape) == pytest.approx(3, rel=1e-6)

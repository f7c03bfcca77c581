"""What an audit has proved so far, so that Ctrl-C ends the audit and loses none of it.

Every stage hands over what it proves as soon as it is proved: each layer, then the network's bound, then
each chunk of samples.  What was cut short counts as never begun, so all that is kept is as true as in a whole
audit.  That it is not the whole is said by `LIP307`, by counts over the samples that were evaluated, and by a
bound on the network that is "not analysed" unless every layer is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lipaudit.analyze import Layer
from lipaudit.bound import Bracket
from lipaudit.certify.curvature import Curvature
from lipaudit.certify.dataset import Certification, merged
from lipaudit.certify.falsify import Outcome
from lipaudit.certify.radius import Radii
from lipaudit.clock import Clock
from lipaudit.compose import NetworkBound, compose
from lipaudit.data import Dataset
from lipaudit.graph.graph import LayerGraph
from lipaudit.report.interruption import UNATTACKED, interruption_finding, unasked
from lipaudit.report.limits import SLOPES
from lipaudit.report.model import Finding, NetworkBracket
from lipaudit.report.number import Number

__all__ = ["Finished"]


INTERRUPTED = Outcome(None, None, UNATTACKED)


@dataclass(slots=True, eq=False)
class Finished:
    """Grows while an audit runs.

    Args:
        graph: from the threat space to scores.
        data: the samples to certify, if any.
        clock: told of every step; knows the stage.
    """

    graph: LayerGraph
    data: Dataset | None
    clock: Clock
    layers: list[Layer] = field(default_factory=list)
    composed: NetworkBound | None = None
    how: str = ""
    bent: Curvature | None = None
    chunks: list[Radii] = field(default_factory=list)
    compared: int = 0
    attacked: Outcome = INTERRUPTED
    stopped: str = ""

    @contextmanager
    def until_interrupted(self) -> Iterator[None]:
        """Ctrl-C ends what is done inside, and `stopped` names the stage.

        Raises:
            KeyboardInterrupt: if not even one layer was bounded by then.
        """
        try:
            yield
        except KeyboardInterrupt:
            if not self.layers:
                raise
            self.stopped = self.clock.name

    def layer(self, layer: Layer) -> None:
        """One more layer is bounded.

        Raises:
            Falsified: if a witness exceeds the bound.
        """
        if layer.lower is not None:
            Bracket(layer.upper, layer.lower)
        self.layers.append(layer)
        self.clock.advance()

    def chunk(self, radii: Radii) -> None:
        """More samples are certified."""
        self.chunks.append(radii)
        self.clock.advance(len(radii.radius))

    def answers(self, count: int) -> None:
        """So many more predictions are the original program's, too."""
        self.compared += count
        self.clock.advance(count)

    @property
    def bound(self) -> NetworkBound:
        """What follows for the network, or for the part of it whose layers are bounded."""
        return compose(self.graph, self.layers) if self.composed is None else self.composed

    @property
    def run(self) -> Certification | None:
        """The samples that were certified."""
        if self.data is None or not self.chunks:
            return None
        return merged(self.data, self.chunks, self.how, self.bent)

    def bracket(self) -> NetworkBracket:
        """The network's constant from both sides; "not analysed" as long as layers are missing."""
        bound = self.bound
        if self.graph.output in bound.running:
            return NetworkBracket.of(bound.total, self.attacked.below)
        nothing = Number.not_analysed()
        return NetworkBracket(upper=nothing, lower=nothing, slack=None, method="none", note=bound.total.note)

    def findings(self) -> tuple[Finding, ...]:
        """That this is not the whole, if it is not."""
        if not self.stopped:
            return ()
        samples = None if self.data is None else (self.evaluated, len(self.data))
        return (interruption_finding(self.stopped, (len(self.layers), len(self.graph.nodes)), samples),)

    def limitations(self) -> tuple[str, ...]:
        """What the radii rest on besides, and what was left out of the part that is there."""
        slopes = (SLOPES,) if self.bent is not None and self.evaluated else ()
        if self.stopped and self.compared < self.evaluated:
            return (*slopes, unasked(self.compared, self.evaluated))
        return slopes

    @property
    def evaluated(self) -> int:
        """How many samples were certified."""
        return sum(len(radii.radius) for radii in self.chunks)

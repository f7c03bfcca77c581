"""Norms of linear maps out of a report: each is proved again for the map that was derived anew.

An op or a rule asks for norms as it did in the audit.  The answer is the τ that the report holds for this
question, once `Method.confirms` has proved it for the map that is asked about; nothing else of the report is
trusted.  What cannot be confirmed is infinite, and a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lipaudit.attest.ledger import NOTHING, Ledger
from lipaudit.bound import Bound
from lipaudit.report.certificate import Certificate
from lipaudit.rounding import mul_up
from lipaudit.spectral import METHODS, LinearMap
from lipaudit.spectral.certificate import Shape, digest
from lipaudit.spectral.method import ZERO

__all__ = ["Certified"]

WIDER = 1 + 2.0**-44
"""Closed forms are computed anew, and on another machine their last bits may differ.  What is then proved,
and used from there on, is τ raised by this; the nine digits of a report are much coarser."""
BY_NAME = {method.name: method for method in METHODS}


@dataclass(slots=True)
class Certified:
    """Answers questions for norms from certificates, in the order in which they were asked once.

    Args:
        records: the certificates of a layer or block.
        where: its place in the report.
        ledger: is told of what differs.
        memory: bytes that a method's tensors may take at a time.
        asked: how many questions there were.
        confirmed: how many of the norms were proved again.
    """

    records: Sequence[Certificate]
    where: str
    ledger: Ledger
    memory: int
    asked: int = 0
    confirmed: int = 0

    def __call__(self, linear_map: LinearMap) -> Bound:
        """The τ of the next certificate, proved for this map."""
        place = f"{self.where}.certificates[{self.asked}]"
        record = self.records[self.asked] if self.asked < len(self.records) else None
        self.asked += 1
        if record is None:
            self.ledger.differs(place, NOTHING, "a certificate is needed here")
            return Bound.unbounded("no certificate")
        if not self._is_about(record, linear_map, place):
            return Bound.unbounded("a certificate of another map")
        if record.tau.value is None:
            return Bound.unbounded("the bound exceeds the largest float64", record.method)
        proved = self._proved(record.method, record.tau.value, linear_map)
        if proved is None:
            self.ledger.differs(
                f"{place}.tau", record.tau.value, f"{NOTHING} by the method {record.method!r}"
            )
            return Bound.unbounded("the norm was not proved again")
        self.confirmed += 1
        return proved

    def finish(self) -> None:
        """All certificates must have been asked for."""
        if self.asked < len(self.records):
            self.ledger.differs(f"{self.where}.certificates", len(self.records), self.asked)

    def _is_about(self, record: Certificate, linear_map: LinearMap, place: str) -> bool:
        shape = Shape.of(linear_map)
        claimed = Shape(
            record.kind,
            record.weight,
            record.image,
            record.stride,
            record.padding,
            record.dilation,
            record.groups,
            record.padding_mode,
            record.transposed,
        )
        if not self.ledger.equal(f"{place} (geometry)", claimed, shape):
            return False
        if record.weights_sha256 is None:
            return True
        return self.ledger.equal(
            f"{place}.weights_sha256", record.weights_sha256, digest([linear_map.weight])
        )

    def _proved(self, name: str, tau: float, linear_map: LinearMap) -> Bound | None:
        method = BY_NAME.get(name)
        for value in (tau, mul_up(tau, WIDER)):
            if method is not None and method.confirms(linear_map, value, self.memory):
                return Bound.computed(value, name, "" if value else ZERO)
        return None

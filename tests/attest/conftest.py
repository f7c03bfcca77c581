"""Two networks in which every rule fires, audited once."""

import pytest
from attested import Attested, ConvNet, DenseNet, attested

FORCED = {
    "first*": "patches",
    "ring*": "fft",
    "outer*": "exact",
    "inner*": "embedding",
    "down*": "supremum",
    "chain.layer0": "gram",
    "chain.layer1": "schur",
}
"""Methods that small maps would not be given."""


@pytest.fixture(scope="session")
def convolutions(tmp_path_factory) -> Attested:
    return attested(
        tmp_path_factory.mktemp("convolutions"),
        ConvNet(),
        (3, 6, 6),
        max_lipschitz="1",
        min_certified=("0.0001:10%", "0.01:90%"),
        profile="fast",
        attack=False,
        method=tuple(f"{layer}={name}" for layer, name in FORCED.items()),
    )


@pytest.fixture(scope="session")
def dense(tmp_path_factory) -> Attested:
    return attested(
        tmp_path_factory.mktemp("dense"),
        DenseNet(),
        (6,),
        max_lipschitz="1e3",
        min_certified="0.001:10%",
        profile="fast",
    )

"""The commented example that `lipaudit policy init` writes; a `#` without a space is a line that is off."""

from __future__ import annotations

from datetime import date

__all__ = ["TEMPLATE", "template"]

TEMPLATE = """\
# What an audit of this model must show. lipaudit reads the closest lipaudit.toml going up from the current
# folder (or [tool.lipaudit] in pyproject.toml). Remove the # of a whole table to switch it on;
# `lipaudit policy check` tells in words what the file then asks for.

# The proved bound on the network's l2 Lipschitz constant; with layers = [...] on that of each such layer.
#[[budget]]
#id = "global"
#metric = "lipschitz"
#max = 20

# How loose a bound may be: upper / lower.
#[[budget]]
#id = "gap"
#metric = "slack"
#layers = ["*conv*"]
#max = 10

# The share of samples whose answer provably holds within an l2 radius; "36/255" is exact.
#[[budget]]
#id = "cert-acc"
#metric = "certified_accuracy"
#eps = "36/255"
#min = "60%"

#[[budget]]
#metric = "clean_accuracy"
#min = "95%"

# A ratchet: no worse than an earlier report, but for this step. `lipaudit baseline update report.json` writes
# the baseline; its path starts from this file's folder.
#[[budget]]
#id = "ratchet"
#metric = "lipschitz"
#baseline = "baseline.json"
#max_increase = "2%"

# Conditions on the audit itself.
#[require]
#min_samples = 1000
#dataset = "mnist:test"
#dataset_fingerprint = "0000000000000000000000000000000000000000000000000000000000000000"
#official = true
#trust = "data only"
#coverage = "100%"
#attacked = true  # nobody can prove that again: `lipaudit verify` ends with 3 then, not 0
#threat_space = "pixel"
#weights_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
#arithmetic = "real"

# An exception: always shown, and over after its last day.
#[[waiver]]
#budget = "gap"
#layers = ["block2*"]
#reason = "average pooling there has no tighter bound yet"
#owner = "jane@example.org"
#expires = 2027-01-31
"""

_EXAMPLE = "2027-01-31"


def template(expires: date) -> str:
    """The example, with this last day of its waiver: one that has passed would be no example."""
    return TEMPLATE.replace(_EXAMPLE, expires.isoformat())

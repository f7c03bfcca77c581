"""Random edits of a report's JSON: any at all, and those that make it claim more."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

Document = dict
Edit = Callable[[random.Random, Document], bool]
"""Changes the document in place; False if it found nothing to change."""


def number(value: float) -> dict:
    return {"value": value, "hex": value.hex(), "status": "proved"}


def lowered(rng: random.Random, row: dict, key: str, least: float = 1e-7) -> bool:
    """An upper bound, made smaller by a part between `least` and a half."""
    value = row[key]["value"]
    if not value:
        return False
    row[key] = number(value * (1 - 10 ** rng.uniform(math.log10(least), -0.3)))
    return True


def _pick(rng: random.Random, rows: list) -> dict:
    return rng.choice(rows)


def layer(key: str) -> Edit:
    return lambda rng, doc: lowered(rng, _pick(rng, doc["evidence"]["layers"]), key)


def block(key: str) -> Edit:
    return lambda rng, doc: lowered(rng, _pick(rng, doc["evidence"]["blocks"]), key)


def network(rng: random.Random, doc: Document) -> bool:
    return lowered(rng, doc["evidence"]["global"], "upper")


def certificate(rng: random.Random, doc: Document) -> bool:
    rows = [
        c for row in [*doc["evidence"]["layers"], *doc["evidence"]["blocks"]] for c in row["certificates"]
    ]
    return lowered(rng, _pick(rng, rows), "tau", 1e-2)


def everywhere(rng: random.Random, doc: Document) -> bool:
    """All of the layers' numbers and the network's, consistently."""
    factor = 1 - 10 ** rng.uniform(-5, -0.3)
    for row in [*doc["evidence"]["layers"], *doc["evidence"]["blocks"], doc["evidence"]["global"]]:
        for key in ("upper", "running", "plain"):
            if row.get(key, {}).get("value"):
                row[key] = number(row[key]["value"] * factor)
    return True


def rho(rng: random.Random, doc: Document) -> bool:
    """A block's own square, and its bound with it."""
    rows = [b for b in doc["evidence"]["blocks"] if "rho" in b["proof"]]
    if not rows:
        return False
    row, factor = _pick(rng, rows), 1 - 10 ** rng.uniform(-2, -0.3)
    row["proof"]["rho"] = (float.fromhex(row["proof"]["rho"]) * factor).hex()
    row["upper"] = number(row["upper"]["value"] * factor**0.5)
    return True


def choice(rng: random.Random, doc: Document) -> bool:
    """What a rule chose: no other choice may be taken for the one that the bound was proved with."""
    keys = ("multipliers", "psi", "scaling", "coefficients", "norms", "norm")
    found = [(b, k) for b in doc["evidence"]["blocks"] for k in keys if b["proof"].get(k)]
    if not found:
        return False
    row, key = rng.choice(found)
    row["proof"][key] = _shrunk(row["proof"][key])
    return True


def _shrunk(value: object) -> object:
    if isinstance(value, list):
        return [_shrunk(inner) for inner in value]
    return (float.fromhex(value) / 2).hex() if isinstance(value, str) else value / 2


def sample(rng: random.Random, doc: Document) -> bool:
    """A radius or a margin, made larger."""
    rows = [r for r in doc["evidence"]["robustness"]["samples"] if r["radius"] > 0]
    row, key = _pick(rng, rows), rng.choice(["radius", "margin"])
    row[key] *= 1 + 10 ** rng.uniform(-7, 2)
    return True


def all_samples(rng: random.Random, doc: Document) -> bool:
    """Radii, margins and everything that is counted from them."""
    factor = 1 + 10 ** rng.uniform(-6, 2)
    found = doc["evidence"]["robustness"]
    for row in found["samples"]:
        row["radius"], row["margin"] = row["radius"] * factor, row["margin"] * factor
    found["median_radius"] = sorted(r["radius"] for r in found["samples"])[(len(found["samples"]) - 1) // 2]
    for point in found["curve"]:
        point["certified_count"] = sum(r["radius"] > point["eps"] for r in found["samples"])
    return True


def answer(rng: random.Random, doc: Document) -> bool:
    """A wrong answer, told as a right one."""
    found = doc["evidence"]["robustness"]
    row = _pick(rng, [r for r in found["samples"] if not r["correct"]])
    row["correct"] = True
    if rng.random() < 0.7:
        key = rng.choice(["predicted", "label"])
        row[key] = row["label" if key == "predicted" else "predicted"]
    if rng.random() < 0.5:
        row["radius"] = row["margin"] / 100 if row["margin"] > 0 else 0.0
    if rng.random() < 0.5:
        found["clean_accuracy"]["count"] += 1
    return True


def count(rng: random.Random, doc: Document) -> bool:
    """A count, made larger (or a whole, made smaller)."""
    found = doc["evidence"]["robustness"]
    point = _pick(rng, found["curve"])
    kind = rng.randrange(4)
    if kind == 0:
        point["certified_count"] += 1
    elif kind == 1:
        found["clean_accuracy"]["count"] += 1
    elif kind == 2:
        found["clean_accuracy"]["n"] -= 1
    else:
        found["median_radius"] *= 1 + 10 ** rng.uniform(-7, 0)
    return True


def selection(rng: random.Random, doc: Document) -> bool:
    """Samples that are not certified, left out or told twice."""
    found, record = doc["evidence"]["robustness"], doc["evidence"]["dataset"]
    rows = found["samples"]
    index = rng.choice([i for i, row in enumerate(rows) if row["radius"] == 0])
    best = max(rows, key=lambda row: row["radius"])
    if rng.random() < 0.5:
        rows[index] = dict(best)
    else:
        del rows[index]
        record["num_evaluated"] -= 1
        found["clean_accuracy"]["n"] -= 1
        for point in found["curve"]:
            point["n"] -= 1
        if rng.random() < 0.5:
            record["total"] -= 1
    return True


def outcome(rng: random.Random, doc: Document) -> bool:
    """A budget that does not pass, told to pass; perhaps with numbers to match, perhaps the verdict too."""
    rows = [b for b in doc["evidence"]["budgets"] if b["outcome"] != "pass"]
    if not rows:
        return False
    row = _pick(rng, rows)
    row["outcome"] = "pass"
    if rng.random() < 0.5 and "upper" in row["evidence"]:
        row["evidence"]["upper"] = float(row["limit"])
    if rng.random() < 0.5 and "certified_count" in row["evidence"]:
        row["evidence"]["certified_count"] = row["evidence"]["n"]
    if all(b["outcome"] == "pass" for b in doc["evidence"]["budgets"]) and rng.random() < 0.7:
        doc["verdict"], doc["exit_code"] = "pass", 0
    return True


def limit(rng: random.Random, doc: Document) -> bool:
    """A budget that passes, told to have asked for more."""
    rows = [b for b in doc["evidence"]["budgets"] if b["outcome"] == "pass"]
    row = _pick(rng, rows)
    row["limit"] = "1e-6" if row["metric"] == "lipschitz" else "99.9%"
    return True


def verdict(_rng: random.Random, doc: Document) -> bool:
    if doc["verdict"] == "pass":
        return False
    doc["verdict"], doc["exit_code"] = "pass", 0
    return True


def finding(rng: random.Random, doc: Document) -> bool:
    rows = [f for f in doc["evidence"]["findings"] if f["rule"] in ("LIP101", "LIP203", "LIP201")]
    if not rows:
        return False
    doc["evidence"]["findings"].remove(_pick(rng, rows))
    return True


def sentence(rng: random.Random, doc: Document) -> bool:
    rows = doc["evidence"]["limitations"]
    index = next(i for i, text in enumerate(rows) if text.startswith("Bounds and radii"))
    if rng.random() < 0.5:
        del rows[index]
    else:
        rows[index] = "Bounds and radii hold for every runtime."
    return True


def structure(rng: random.Random, doc: Document) -> bool:
    """A layer, a block or a certificate left out; a layer told to be another one."""
    evidence = doc["evidence"]
    kind = rng.randrange(4)
    if kind == 0:
        evidence["layers"].remove(_pick(rng, evidence["layers"]))
    elif kind == 1:
        evidence["blocks"].remove(_pick(rng, evidence["blocks"]))
    elif kind == 2:
        rows = [r for r in [*evidence["layers"], *evidence["blocks"]] if r["certificates"]]
        _pick(rng, rows)["certificates"].pop()
    else:
        rows = [r for r in evidence["layers"] if r["certificates"]]
        _pick(rng, rows)["certificates"][0]["method"] = rng.choice(["gram-zero ", "trust me", "lanczos"])
    return True


def surroundings(rng: random.Random, doc: Document) -> bool:
    """Another preprocessing, space or data set than the one that was audited."""
    evidence = doc["evidence"]
    kind = rng.randrange(4)
    if kind == 0:
        evidence["preprocessing"]["scale"] = rng.choice(["0.5", "1/255", "2"])
    elif kind == 1:
        evidence["preprocessing"]["std"] = ["0.25"]
    elif kind == 2:
        evidence["preprocessing"]["threat_space"] = rng.choice(["pixel [0,255]", "the file's own units"])
    else:
        evidence["dataset"]["fingerprint_sha256"] = "0" * 64
    return True


LOWERING: tuple[Edit, ...] = (
    layer("upper"), layer("running"), block("upper"), block("plain"), network, certificate, everywhere, rho,
    choice, sample, all_samples, answer, count, selection, outcome, limit, verdict, finding, sentence,
    structure, surroundings,
)  # fmt: skip
"""Each makes the report claim something that was not proved."""


def leaves(value: object) -> Iterator[tuple[dict | list, str | int]]:
    """Every place in a document that holds no further document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(inner, dict | list) and inner:
            yield from leaves(inner)
        else:
            yield value, key


def disturbed(rng: random.Random, doc: Document) -> None:
    """Any one value of the evidence, changed."""
    holder, key = rng.choice(list(leaves(doc["evidence"])))
    old = holder[key]
    if isinstance(old, bool):
        holder[key] = not old
    elif isinstance(old, int | float):
        holder[key] = rng.choice([old + 1, -old - 1, old / 2 + 0.25])
    elif isinstance(old, str):
        holder[key] = old[:-1] if old and rng.random() < 0.5 else f"{old}x"
    else:
        holder[key] = 0 if old is None else None

"""Policy files: exact numbers, and every mistake with its line and what to write instead."""

import contextlib
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.errors import ExitCode, UsageError
from lipaudit.policy import Limit, Ratchet
from lipaudit.policy.reading import read_policy
from lipaudit.policy.template import TEMPLATE

PLACE = Path("/somewhere/lipaudit.toml")


def budget(*lines, metric="lipschitz"):
    return "\n".join(["[[budget]]", f'metric = "{metric}"', *lines])


def refused(text):
    with pytest.raises(UsageError) as caught:
        read_policy(text.encode("utf-8"), PLACE)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("20", 20),
        ("0", 0),
        ("0.1", Fraction(1, 10)),
        ("1e-3", Fraction(1, 1000)),
        ('"36/255"', Fraction(36, 255)),
        ('" 1.5 "', Fraction(3, 2)),
        ("1_000", 1000),
        ("0x10", 16),
    ],
)
def test_numbers_are_exact(policy, written, value):
    (found,) = policy(budget(f"max = {written}")).budgets
    assert found.limit.value == value


@given(st.decimals(min_value=0, max_value=10**6, places=6))
def test_a_toml_number_means_its_digits(number):
    (found,) = read_policy(budget(f"max = {number:f}").encode(), PLACE).budgets
    assert found.limit == Limit(Fraction(number), f"{number:f}")


@pytest.mark.parametrize(
    "written",
    [
        *("nan", "inf", "-inf", "+nan", "-1", "-0.5", "true", "[]", "{}", "2026-01-01", '""', '"x"', '"1/0"'),
        *('"1e9999"', "1e400", "1e99999999999999999999", '"20%"', '"nan"', '"-1"', '"1 2"', "9" * 400),
    ],
)
def test_a_limit_that_cannot_be_meant(written):
    assert str(refused(budget('id = "x"', f"max = {written}"))).startswith(f"{PLACE}:4: max")


GOOD = budget("max = 20")
WAIVER = '[[waiver]]\nbudget = "lipschitz"\nreason = "r"\nowner = "o"\nexpires = 2027-01-31'
CERTIFIED = "certified_accuracy"
MISTAKES = {
    "unknown metric": ('[[budget]]\nmetric = "lipshitz"\nmax = 1', 2, "did you mean 'lipschitz'?"),
    "unknown key": (budget("maximum = 1"), 3, "did you mean max?"),
    "unknown table": ("[[budgets]]\nmax = 1", 1, "did you mean budget?"),
    "unknown clause": ("[require]\nmin_sample = 5", 2, "did you mean min_samples?"),
    "unknown key of a waiver": (f"{GOOD}\n{WAIVER}\nexpire = 1", 9, "did you mean expires?"),
    "far-fetched key": (budget("max = 1", "zzz = 1"), 4, "keys here: metric"),
    "single brackets": ('[budget]\nmetric = "slack"\nmax = 2', 1, "[[budget]]"),
    "no table": ("budget = 5", 1, "[[budget]]"),
    "no metric": ("\n[[budget]]\nmax = 1", 2, "needs 'metric'"),
    "no limit": ("\n" + budget(), 2, "no limit"),
    "two limits": (budget("max = 1", 'baseline = "b.json"', 'max_increase = "2%"'), 3, "one limit"),
    "min for max": (budget("min = 1"), 3, "takes max"),
    "max for min": (budget("max = 1", metric="clean_accuracy"), 3, "takes min"),
    "layers of accuracy": (budget('layers = ["x"]', "min = 1", metric="clean_accuracy"), 3, "layers has no"),
    "radius of lipschitz": (budget('eps = "1"', "max = 1"), 3, "eps has no meaning"),
    "no radius": (budget("min = 1", metric=CERTIFIED), 1, "needs the radius eps"),
    "radius 0": (budget("eps = 0", "min = 1", metric=CERTIFIED), 3, "must be positive"),
    "radius in percent": (budget('eps = "5%"', "min = 1", metric=CERTIFIED), 3, "must be positive"),
    "share above 1": (budget("eps = 1", "min = 60", metric=CERTIFIED), 4, "between 0 and 1"),
    "slack below 1": (budget("max = 0.5", metric="slack"), 3, "never below 1"),
    "empty layers": (budget("layers = []", "max = 1"), 3, "at least one entry"),
    "layers as text": (budget('layers = "conv*"', "max = 1"), 3, 'such as ["conv*"]'),
    "layers as numbers": (budget("layers = [1]", "max = 1"), 3, "text in quotes"),
    "baseline alone": (budget('baseline = "b.json"'), 3, "needs max_increase"),
    "step alone": (budget('max_increase = "2%"'), 3, "needs baseline"),
    "step of 2": (budget('baseline = "b.json"', "max_increase = 2"), 4, '"2%"'),
    "step of an accuracy": (
        budget('baseline = "b.json"', 'max_increase = "2%"', metric="clean_accuracy"),
        4,
        "max_decrease",
    ),
    "decrease of what": (
        budget('baseline = "b.json"', "max_decrease = 0.01", metric="clean_accuracy"),
        4,
        "could be meant in two ways",
    ),
    "decrease of everything": (
        budget('baseline = "b.json"', 'max_decrease = "200%"', metric="clean_accuracy"),
        4,
        "more than everything",
    ),
    "empty id": (budget('id = " "', "max = 1"), 3, "empty"),
    "id of ours": (budget('id = "require.x"', "max = 1"), 3, "one of ours"),
    "id that does not print": (budget(r'id = "a\u001b[2J"', "max = 1"), 3, "do not print"),
    "number as id": (budget("id = 1.5", "max = 1"), 3, "text in quotes"),
    "same id": (f"{GOOD}\n{GOOD}", 4, "two budgets are called 'lipschitz'"),
    "waiver of nothing": (WAIVER, 2, "no budget is called"),
    "waiver of a misspelt budget": (f"{GOOD}\n{WAIVER.replace('lipschitz', 'lips')}", 5, "called lipschitz"),
    "waiver of layers of the network": (f'{GOOD}\n{WAIVER}\nlayers = ["x"]', 9, "leave layers out"),
    "no owner": (f"{GOOD}\n{WAIVER}".replace('owner = "o"\n', ""), 4, "needs 'owner'"),
    "empty reason": (f"{GOOD}\n{WAIVER}".replace('"r"', '""'), 6, "empty"),
    "no day": (f"{GOOD}\n{WAIVER}".replace("2027-01-31", '"soon"'), 8, "2027-01-31"),
    "a moment": (f"{GOOD}\n{WAIVER}".replace("2027-01-31", "2027-01-31T12:00:00"), 8, "2027-01-31"),
    "samples as text": ('[require]\nmin_samples = "10"', 2, "whole number"),
    "no samples": ("[require]\nmin_samples = 0", 2, "whole number"),
    "official false": ("[require]\nofficial = false", 2, "leave the line out"),
    "short digest": ('[require]\ndataset_fingerprint = "abc"', 2, "64"),
    "coverage above 1": ('[require]\ncoverage = "101%"', 2, "between 0 and 1"),
    "other arithmetic": ('[require]\narithmetic = "float32"', 2, "'real'"),
    "require twice": ("[[require]]\nofficial = true", 1, "[require]"),
    "require as a number": ("require = 5", 1, "no table"),
    "numbers for budgets": ("budget = [5]", 1, "no table"),
    "no TOML": ("[[budget]]\nmetric = lipschitz", 2, "not TOML"),
    "no end": ("[[budget]]\nmetric = [", 2, "not TOML"),
    "key twice": (budget("max = 1", "max = 2"), 4, "not TOML"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_have_their_line_and_what_to_do(name):
    text, line, told = MISTAKES[name]
    error = refused(text)
    assert str(error).startswith(f"{PLACE}:{line}: ")
    assert told in str(error)


def test_all_mistakes_are_told_at_once():
    error = refused(f"{budget('max = -1')}\n{budget('maximum = 1')}\n[require]\nofficial = 1")
    assert [row.split(":")[1] for row in error.message.splitlines()] == ["3", "6", "8"]
    assert "did you mean max?" in error.message


def test_a_long_list_of_mistakes_ends():
    error = refused("\n".join(f"key{k} = 1" for k in range(40)))
    assert len(error.message.splitlines()) == 9
    assert "32 more" in error.message


def test_bytes_that_are_no_text():
    with pytest.raises(UsageError, match="not TOML"):
        read_policy(b"\xff\xfe", PLACE)
    with pytest.raises(UsageError, match="not TOML"):
        read_policy(b"a = " + b"[" * 100_000, PLACE)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_hostile_bytes_end_in_a_policy_or_a_usage_error(data):
    with contextlib.suppress(UsageError):
        read_policy(data, PLACE)


SCALARS = st.one_of(
    st.integers(-5, 10**30),
    st.floats(),
    st.booleans(),
    st.text(max_size=5),
    st.sampled_from(["lipschitz", "1"]),
)
KEYS = [
    "id",
    "metric",
    "layers",
    "max",
    "min",
    "eps",
    "baseline",
    "max_increase",
    "budget",
    "owner",
    "expires",
]


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return str(value)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["[[budget]]", "[[waiver]]", "[require]", "[x]"]),
            st.dictionaries(st.sampled_from(KEYS), SCALARS | st.lists(SCALARS, max_size=2), max_size=5),
        ),
        max_size=4,
    )
)
def test_hostile_tables_end_in_a_policy_or_a_usage_error(tables):
    text = "\n".join(
        line for header, keys in tables for line in (header, *(f"{k} = {toml(v)}" for k, v in keys.items()))
    )
    with contextlib.suppress(UsageError):
        found = read_policy(text.encode("utf-8"), PLACE)
        assert len({b.id for b in found.budgets}) == len(found.budgets)
        for one in found.budgets:
            assert text.splitlines()[one.line - 1] in ("[[budget]]", "[require]") or "=" in text


def test_default_names(policy):
    text = "\n".join(
        [
            budget("max = 1"),
            budget('layers = ["a*", "b"]', "max = 1"),
            budget("max = 2", metric="slack"),
            budget("min = 1", metric="clean_accuracy"),
            budget('eps = "36/255"', "min = 1", metric=CERTIFIED),
            budget('baseline = "b.json"', 'max_increase = "2%"'),
        ]
    )
    assert [b.id for b in policy(text).budgets] == [
        "lipschitz",
        "lipschitz[a*,b]",
        "slack",
        "clean_accuracy",
        "certified_accuracy@36/255",
        "lipschitz.ratchet",
    ]
    assert [b.line for b in policy(text).budgets] == [1, 4, 8, 11, 14, 18]


def test_ratchets(policy):
    (found,) = policy(budget('baseline = "sub/b.json"', 'max_increase = "2%"')).budgets
    assert found.limit == Ratchet(Path("/somewhere/sub/b.json"), Fraction(1, 50), "2%")
    (found,) = policy(budget('baseline = "/b.json"', 'max_decrease = "1%"', metric="clean_accuracy")).budgets
    assert found.limit == Ratchet(Path("/b.json"), Fraction(1, 100), "1%")


def test_pyproject_speaks_of_other_things_too(policy):
    text = '[project]\nname = "x"\n[[tool.lipaudit.budget]]\nmetric = "lipschitz"\nmax = 20\n[tool.ruff]\n'
    (found,) = policy(text, "pyproject.toml").budgets
    assert found.line == 3


@pytest.mark.parametrize("text", ["[tool]\nlipaudit = 5", "tool = 5", "[[tool.lipaudit]]"])
def test_a_pyproject_whose_table_is_none(policy, text):
    with pytest.raises(UsageError, match="no table"):
        policy(text, "pyproject.toml")


def test_the_template_is_all_off_and_right_once_it_is_on(policy):
    assert policy(TEMPLATE).budgets == ()
    on = (line for line in TEMPLATE.splitlines() if line.startswith("#") and not line.startswith("# "))
    text = "\n".join(line[1:] for line in on)
    found = policy(text)
    assert len(found.budgets) == 5 + 10
    assert len(found.waivers) == 1


def test_what_each_budget_asks_for_is_said_in_words(policy):
    told = [b.words for b in policy(f"{GOOD}\n[require]\ncoverage = '100%'").budgets]
    assert told == [
        "the l2 Lipschitz constant of the network is at most 20",
        "100% of the layers have a finite bound",
    ]

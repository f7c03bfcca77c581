"""The scanner finds the line of what a writer wrote, and never fails."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from lipaudit.policy.lines import scan

NAMES = st.text("abcxyz-_9", min_size=1, max_size=4)
NOISE = st.lists(st.sampled_from(["", "# [[budget]]", "   ", "# x = 1"]), max_size=2)
VALUES = st.sampled_from(
    ["1", '"a # b = c"', "'[[budget]]'", '"""\n[[budget]]\nmax = 1\n"""', "'''\n'''", "[1,\n2,\n3]"]
)


@st.composite
def documents(draw):
    """Text with `[[budget]]` tables, and where each key stands."""
    lines, places = [], {}
    for table in range(draw(st.integers(0, 3))):
        lines += draw(NOISE)
        lines.append(draw(st.sampled_from(["[[budget]]", " [[ budget ]]", '[["budget"]] # x'])))
        places["budget", table] = len(lines)
        for key in draw(st.lists(NAMES, max_size=3, unique=True)):
            lines += draw(NOISE)
            places["budget", table, key] = len(lines) + 1
            lines += f"{key} = {draw(VALUES)}".split("\n")
    return "\n".join(lines), places


@given(documents())
def test_every_key_is_found_where_it_was_written(document):
    text, places = document
    tomllib.loads(text)
    found = scan(text)
    assert {path: found.of(path) for path in places} == places


@given(st.text(st.sampled_from("[]\"'=.#\n a1\r\t\\\x00é"), max_size=60))
def test_it_never_fails(text):
    found = scan(text)
    last = text.count("\n") + 1
    assert all(1 <= line <= last for line in found.places.values())
    assert 1 <= found.of(("budget", 3, "max")) <= last


def test_what_is_not_there_has_the_place_of_what_is_around_it():
    found = scan("\n[require]\nofficial = true\n[[budget]]\n")
    assert found.of(("require", "official")) == 3
    assert found.of(("require", "missing")) == 2
    assert found.of(("budget", 0, "max")) == 4
    assert found.of(("waiver", 0)) == 1


def test_tables_of_pyproject():
    text = '[project]\nname = "x"\n[[tool.lipaudit.budget]]\nmax = 1\n[[tool.lipaudit.budget]]\nmax = 2\n'
    found = scan(text, ("tool", "lipaudit"))
    assert found.of(("budget", 1, "max")) == 6
    assert found.of(("name",)) == 1


def test_dotted_keys_and_inline_tables():
    found = scan('require.min_samples = 1\nbudget = [{metric = "slack", max = 2}]\n')
    assert found.of(("require", "min_samples")) == 1
    assert found.of(("budget", 0, "max")) == 2

"""Which file is the policy: the closest one, one alone, or the one named."""

import pytest
import sample_report as sample

from lipaudit.errors import InputRefused, InputUnavailable, UsageError
from lipaudit.policy import find_policy, load_baselines, load_policy
from lipaudit.report.canonical import sealed, to_json

POLICY = '[[budget]]\nmetric = "lipschitz"\nmax = 20\n'
SHARED = '[project]\nname = "x"\n[[tool.lipaudit.budget]]\nmetric = "lipschitz"\nmax = 5\n'


@pytest.fixture
def tree(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    return inner


def test_without_a_file_there_is_no_policy(tree):
    assert find_policy(tree) is None


def test_the_closest_wins_and_nothing_is_merged(tree):
    (tree.parents[1] / "lipaudit.toml").write_text(POLICY)
    assert find_policy(tree) == tree.parents[1] / "lipaudit.toml"
    (tree.parent / "pyproject.toml").write_text(SHARED)
    assert find_policy(tree) == tree.parent / "pyproject.toml"
    (tree / "pyproject.toml").write_text('[project]\nname = "lipaudit"\n')
    assert find_policy(tree) == tree.parent / "pyproject.toml"
    (tree / "lipaudit.toml").write_text("")
    found = find_policy(tree)
    assert found == tree / "lipaudit.toml"
    assert load_policy(found).budgets == ()


def test_two_forms_in_one_folder_are_an_error(tree):
    (tree / "lipaudit.toml").write_text(POLICY)
    (tree / "pyproject.toml").write_text(SHARED)
    with pytest.raises(UsageError, match="two policies"):
        find_policy(tree)


def test_a_link_that_leads_nowhere_is_not_passed_over(tree):
    (tree / "lipaudit.toml").symlink_to("nowhere")
    with pytest.raises(InputUnavailable):
        load_policy(find_policy(tree))


def test_a_table_whose_name_is_written_with_escapes_is_ours(tree):
    escaped = SHARED.replace("tool.lipaudit", 'tool."lip\\u0061udit"')
    assert "lipaudit" not in escaped
    (tree / "pyproject.toml").write_text(escaped)
    assert find_policy(tree) == tree / "pyproject.toml"


def test_a_broken_pyproject_counts_only_if_it_speaks_of_us(tree):
    (tree / "pyproject.toml").write_text("[project\n")
    assert find_policy(tree) is None
    (tree / "pyproject.toml").write_text("[tool.lipaudit\n")
    with pytest.raises(UsageError, match=r"pyproject\.toml:1: not TOML"):
        find_policy(tree)


@pytest.mark.parametrize("text", ["tool = 5 # lipaudit", "[tool]\nlipaudited = 1", "lipaudit = 1"])
def test_a_pyproject_without_our_table_is_none(tree, text):
    (tree / "pyproject.toml").write_text(text)
    assert find_policy(tree) is None
    with pytest.raises(UsageError):
        load_policy(tree / "pyproject.toml")


def test_a_named_file_must_be_there(tree):
    for path in (tree / "none.toml", tree, tree / "x\0y", tree / "lipaudit.toml" / "x"):
        with pytest.raises(InputUnavailable):
            load_policy(path)


def test_the_file_is_recorded(tree):
    path = tree / "p.toml"
    path.write_text(POLICY)
    policy = load_policy(path)
    assert policy.file.path == path
    assert len(policy.file.sha256) == 64


RATCHET = '[[budget]]\nmetric = "lipschitz"\nbaseline = "base.json"\nmax_increase = 0\n'


def test_baselines_lie_beside_the_policy(tree):
    (tree / "p.toml").write_text(RATCHET)
    policy = load_policy(tree / "p.toml")
    with pytest.raises(InputUnavailable, match=r"p\.toml:1: no such baseline"):
        load_baselines(policy)
    report = sealed(sample.report())
    (tree / "base.json").write_text(to_json(report))
    assert load_baselines(policy) == {tree / "base.json": report}


def test_a_baseline_is_read_as_every_report_is(tree):
    (tree / "p.toml").write_text(RATCHET)
    policy, path = load_policy(tree / "p.toml"), tree / "base.json"
    text = to_json(sealed(sample.report()))
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_baselines(policy) == {path: sealed(sample.report())}
    path.write_text(text.replace('"official": true', '"official": false'))
    with pytest.raises(InputRefused, match=r"base\.json: .*evidence_sha256"):
        load_baselines(policy)

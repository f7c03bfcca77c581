"""Policies: what an audit must show. Read them, judge a report by them, decide verdict and exit code.

    policy = load_policy(Path("lipaudit.toml"))
    day = judging_day(moment(), [waiver.expires for waiver in policy.waivers], report.run.started)
    judge(policy, report.evidence, day, load_baselines(policy)).verdict

Only `source` reads files; `judge` is a function of its arguments.
"""

from __future__ import annotations

from lipaudit.policy.budget import Baselines, Budget
from lipaudit.policy.ceiling import CeilingBudget
from lipaudit.policy.floor import FloorBudget
from lipaudit.policy.judgement import Judgement, judge
from lipaudit.policy.limit import Limit, Ratchet
from lipaudit.policy.parse import (
    DEFAULT_EPS,
    parse_budgets,
    parse_eps,
    parse_max_lipschitz,
    parse_min_certified,
    with_flags,
)
from lipaudit.policy.policy import Policy, PolicyFile
from lipaudit.policy.requirement import Requirement
from lipaudit.policy.source import find_policy, load_baselines, load_policy
from lipaudit.policy.verdict import decide, undecided
from lipaudit.policy.waiver import Waiver

__all__ = [
    "DEFAULT_EPS",
    "Baselines",
    "Budget",
    "CeilingBudget",
    "FloorBudget",
    "Judgement",
    "Limit",
    "Policy",
    "PolicyFile",
    "Ratchet",
    "Requirement",
    "Waiver",
    "decide",
    "find_policy",
    "judge",
    "load_baselines",
    "load_policy",
    "parse_budgets",
    "parse_eps",
    "parse_max_lipschitz",
    "parse_min_certified",
    "undecided",
    "with_flags",
]

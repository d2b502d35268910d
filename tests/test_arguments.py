"""What calls of the library are given, in the wrong shape: one line each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box

from metarl.arguments import path_of, require_built, require_integers, require_parts, require_truths
from metarl.engine.conformance import check_rule
from metarl.engine.rules import InnerRule
from metarl.engine.rules.sgd import SGD
from metarl.rl.conformance import check_policy
from metarl.rl.policies.gaussian_mlp import GaussianMLP
from metarl.supervised.conformance import check_dataset
from metarl.supervised.datasets.sinusoid import Sinusoid


def test_what_is_not_built_is_told_so() -> None:
    part = SGD(inner_step_size=0.5)
    require_built(rule=(part.build(), InnerRule), loss=(abs, Callable))
    with pytest.raises(ValueError) as error:
        require_built(rule=(part, InnerRule))
    assert str(error.value).startswith("rule must be of the class InnerRule; got SGD(")
    assert str(error.value).endswith(": hand over what its build() makes")
    with pytest.raises(ValueError, match="baseline must be a function; got 3"):
        require_built(baseline=(3, Callable))


def test_what_is_no_part() -> None:
    """Each of the public checks ended in an error about an attribute of it."""
    policy: Any = GaussianMLP
    spaces = Box(-1, 1, (2,)), Box(-1, 1, (1,))
    right = r"must be a part, which has a method build; got <class .*>: make one, "
    with pytest.raises(ValueError, match=rf"^policy {right}GaussianMLP\(\)$"):
        check_policy(policy, *spaces)
    rule: Any = SGD
    with pytest.raises(ValueError, match=rf"^rule {right}SGD\(\)$"):
        check_rule(rule)
    with pytest.raises(ValueError, match=rf"^dataset {right}Sinusoid\(\)$"):
        check_dataset(Sinusoid)
    for wrong in ("sgd", None, SGD().build()):
        with pytest.raises(ValueError, match=r"^rule must be a part, which has a method build; got (?!.*make one)"):
            require_parts(rule=wrong)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.0, "tasks must be a whole number; got 1.0"),
        (True, "tasks must be a whole number; got True"),
        (None, "tasks must be a whole number; got None"),
        (0, "tasks must be at least 1; got 0"),
        (np.int64(0), "tasks must be at least 1; got 0"),
    ],
)
def test_what_is_no_whole_number(value: Any, words: str) -> None:
    require_integers(1, tasks=np.int32(1), steps=2**70)
    with pytest.raises(ValueError, match=f"^{words}$"):
        require_integers(1, tasks=value)


@pytest.mark.parametrize("value", ["no", "", 0, 1, None, np.int64(1)])
def test_what_is_no_truth_value(value: Any) -> None:
    require_truths(resume=True, rotate=np.bool_(False))
    with pytest.raises(ValueError, match=r"^resume must be True or False; got "):
        require_truths(resume=value)


@pytest.mark.parametrize("value", ["", b"a", None, 3, "a\0b", "~nobody-of-this-name/x"])
def test_what_is_no_path(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^place must be a path; (got|there is no home for) "):
        path_of("place", value)

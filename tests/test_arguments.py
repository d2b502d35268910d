"""What calls of the library are given, in the wrong shape: one line each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from metarl.arguments import path_of, require_built, require_integers, require_truths
from metarl.engine.rules import InnerRule
from metarl.engine.rules.sgd import SGD


def test_what_is_not_built_is_told_so() -> None:
    part = SGD(inner_step_size=0.5)
    require_built(rule=(part.build(), InnerRule), loss=(abs, Callable))
    with pytest.raises(ValueError) as error:
        require_built(rule=(part, InnerRule))
    assert str(error.value).startswith("rule must be of the class InnerRule; got SGD(")
    assert str(error.value).endswith(": hand over what its build() makes")
    with pytest.raises(ValueError, match="baseline must be a function; got 3"):
        require_built(baseline=(3, Callable))


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

import dataclasses
from typing import Any, cast

import pytest

from metarl.rl.contract import played_alone


@dataclasses.dataclass
class Equal:
    """An environment that is equal to others, and has no hash."""

    num_envs: int = 2


def test_environments_are_played_alone_by_identity() -> None:
    """Equal ones in two threads were taken for one, and one without a hash could not be played."""
    first, second = cast(Any, Equal()), cast(Any, Equal())
    words = "is played by another thread"
    with played_alone(first), played_alone(second), pytest.raises(ValueError, match=words), played_alone(first):
        pass
    with played_alone(first):
        pass

"""The state of a training between two iterations."""

from typing import Any, NamedTuple

from torch import Tensor

from metarl.engine.params import Params, is_params
from metarl.problem import Problem


class TrainState(NamedTuple):
    """Everything that a training goes on from: equal states lead to equal ends."""

    iteration: int  # outer steps done
    theta: Params
    outer_state: dict[str, Tensor]
    best_score: float  # of the best parameters so far; -inf before the first iteration
    env_steps: float = 0.0  # environment steps taken since the start; 0 for supervised problems
    config: dict[str, Any] = {}  # plain values that identify the run; the loop only passes them on


def require_like(found: dict[str, Tensor], expected: dict[str, Tensor], whose: str) -> None:
    """Raise ValueError unless `found` has the names and shapes of `expected`; the first that differs is named.

    Args:
        found: parameters, or an outer optimiser's state.
        expected: those of the network and the optimiser that are trained now.
        whose: where `found` comes from, for the message.
    """
    if not is_params(found):
        raise ValueError(f"{whose} must be tensors by name; got {type(found).__name__}")
    for name in (*expected, *found):
        shapes = [tuple(leaves[name].shape) if name in leaves else None for leaves in (found, expected)]
        if shapes[0] == shapes[1]:
            continue
        there, here = ("missing" if shape is None else f"of shape {shape}" for shape in shapes)
        raise ValueError(
            f"{whose} fits another network or optimiser, or other sizes of observations and actions: {name} is {there} "
            f"there and {here} here"
        )


def fitted(theta: Params, problem: Problem, whose: str, seed: int = 0) -> Params:
    """Parameters that were stored, on the device and in the dtype of the problem that they shall serve.

    Args:
        theta: the parameters.
        problem: what they were trained on.
        whose: where they come from, for the message.
        seed: of the fresh parameters that they are compared with; any will do.

    Raises:
        ValueError: other names or shapes than those of the problem's own parameters.
    """
    fresh = problem.initial_parameters(seed)
    require_like(theta, fresh, whose)
    # Of a tensor that was made in inference mode no gradient can be taken.
    plain = {name: leaf.clone() if leaf.is_inference() else leaf for name, leaf in theta.items()}
    return {name: plain[name].to(leaf) for name, leaf in fresh.items()}

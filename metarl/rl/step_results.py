"""What an environment or a vector environment returns of `reset` and `step`, as a whole: Gymnasium's tuples."""

from typing import Any

from metarl.numeric import shown
from metarl.user_code import called_with


def begun(
    env: Any, *, seed: Any, options: dict[str, Any], seen: str, refusal: type[ValueError] = ValueError
) -> tuple[Any, dict[str, Any]]:
    """Start an episode, or one in each environment: what is seen, and the info.

    Args:
        env: a Gymnasium environment or vector environment.
        seed: passed to `reset`.
        options: passed to `reset`.
        seen: what `reset` returns beside the info, in messages: "observation" or "observations".
        refusal: the error that is raised.

    Raises:
        ValueError: `reset` does not take seeds and options, or does not return both.
    """
    try:
        result = env.reset(seed=seed, options=options)
    except TypeError as error:
        if called_with(error, ("seed", "options"), __file__):
            right = "reset(self, *, seed=None, options=None)"
            raise refusal(f"{env}: its method must be {right}: {error}") from error
        raise
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise refusal(f"{env}: reset must return ({seen}, info); got {shown(result)}")
    return result


def stepped(
    env: Any, actions: Any, *, names: str, refusal: type[ValueError] = ValueError
) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
    """Make one timestep: the five results of a step.

    Args:
        env: a Gymnasium environment or vector environment.
        actions: passed to `step`.
        names: of what is seen and of the rewards, in messages.
        refusal: the error that is raised.

    Raises:
        ValueError: `step` does not return five results, of which the last is a dict.
    """
    result = env.step(actions)
    if not (isinstance(result, tuple) and len(result) == 5 and isinstance(result[4], dict)):
        is_info = isinstance(result, tuple) and len(result) == 5
        got = f"an info of the type {type(result[4]).__name__}" if is_info else shown(result)
        raise refusal(f"{env}: step must return ({names}, terminated, truncated, info); got {got}")
    return result

"""What training asks of a vector environment, checked with messages that say how to mend the environment.

Axes: n environments, T timesteps, O observation, k numbers of a task.
"""

import copy
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import ArrayLike

from metarl.arrays import Array, on_device, on_host
from metarl.kinds import is_whole
from metarl.numeric import shown
from metarl.rl.drawing_tasks import draw_tasks
from metarl.rl.spaces import action_size
from metarl.rl.vector_results import VectorResults

DRAWN = 16  # tasks that are drawn for the checks
TIMESTEPS = 100  # of the episodes that are played to see whether tasks and seeds matter
SEED = 7
OTHER_NAMES = {"is_success": "success", "is_diverged": "diverged"}  # a name that others use in `info` -> the name here


class Played(NamedTuple):
    """Episodes of random actions."""

    observations: Array  # [T + 1, n, O]
    rewards: Array  # [T, n]

    def same(self, other: "Played", i: int, j: int) -> bool:
        """Whether observations and rewards of environment i are those of environment j of other episodes."""
        pairs = ((self.observations, other.observations), (self.rewards, other.rewards))
        return all(np.array_equal(ours[:, i], theirs[:, j], equal_nan=True) for ours, theirs in pairs)


def check_vector(env: VectorEnv, horizon: int = TIMESTEPS) -> list[str]:
    """Check that a vector environment can be meta-trained in, and list remarks on it.

    Rounds of episodes of the same random actions are played: with equal seeds and tasks, with the same again, and
    with another task in the first environment, and in the last.

    Args:
        env: n environments; two of them show more than one.
        horizon: timesteps of an episode at most.

    Returns:
        Remarks, one line each; [] if there is nothing to say.

    Raises:
        ValueError: auto-reset, no `sample_tasks`, tasks that equal generators do not draw again, tasks that are dropped
            at reset, state that is kept from one episode to the next.
    """
    require_vector(env)
    sample = of_wrapped(env, "sample_tasks")
    if sample is None:
        raise ValueError(
            f"{env} cannot be meta-trained: a vector environment needs a method sample_tasks(rng, n) -> tasks [n, k]. "
            "Of single environments that have it, metarl.envs.LoopVectorEnv(make_env, num_envs) makes one"
        )
    tasks = checked_sample(sample, env, DRAWN)
    remarks = []
    given = np.repeat(tasks[:1], env.num_envs, axis=0)
    others = tasks[(tasks != tasks[0]).any(1)]
    if len(others) == 0:
        remarks.append(f"the first {DRAWN} tasks that it draws are all the same, {tasks[0]}")
        others = _another(tasks[:1])
    elif np.array_equal(tasks, draw_tasks(sample, np.random.default_rng(SEED), DRAWN)):
        remarks.append(
            "sample_tasks draws the same tasks from every generator, so that no iteration has others and none are held "
            "out: draw from rng"
        )
    timesteps = min(horizon, TIMESTEPS)
    with _global_draws() as drawn:
        first, info = play(env, given, timesteps)
        _require_tasks(env, given)
        again, _ = play(env, given, timesteps)
    remarks += [f"it draws from {name}, which no seed of a run reaches: draw from self.np_random" for name in drawn]
    repeats = first.same(again, 0, 0)
    if not repeats and not drawn:
        if env.num_envs > 1 and first.same(first, 0, 1):
            raise ValueError(
                f"{env} keeps state from one episode to the next, such as running statistics: after other episodes, "
                "the same seed and task give another one. A checkpoint would not have that state: leave the wrapper "
                "out (--normalization running normalises observations, and keeps its statistics with the policy)"
            )
        remarks.append(
            "equal seeds, tasks and actions give other episodes: reset(seed=...) must seed all that is random in it, "
            "or runs cannot be repeated"
        )
    if repeats:
        remarks += _remarks_on_rows(env, first, given, others[0], timesteps)
    return remarks + unread(info)


def of_wrapped(env: Any, name: str) -> Any:
    """An attribute of a vector environment, or of what its wrappers are around; None where neither has it."""
    while not hasattr(env, name) and isinstance(env, VectorWrapper):
        env = env.env
    return getattr(env, name, None)


def unread(info: Mapping[Any, Any]) -> list[str]:
    """Remarks on entries of an environment's `info` that would be read under another name."""
    return [
        f"its info has {name!r}, which is not read: say {ours!r}"
        for name, ours in OTHER_NAMES.items()
        if name in info and ours not in info
    ]


def require_vector(env: VectorEnv) -> None:
    """Raise ValueError unless rollouts can be made in a vector environment: without auto-reset, known actions."""
    is_vector = is_whole(getattr(env, "num_envs", None)) and hasattr(env, "metadata")
    if not is_vector:
        raise ValueError(
            "rollouts need a vector environment, such as metarl.envs.LoopVectorEnv(make_env, num_envs) makes of single "
            f"ones; got {shown(env)}"
        )
    if env.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED:
        raise ValueError(
            f"{env} resets by itself: rollouts need autoreset_mode DISABLED. Make it with "
            "autoreset_mode=gymnasium.vector.AutoresetMode.DISABLED, or, of single environments, "
            "metarl.envs.LoopVectorEnv(make_env, num_envs)"
        )
    require_spaces(env, ("single_observation_space", "single_action_space"))
    action_size(env.single_action_space)


@contextmanager
def played_alone(env: VectorEnv) -> Iterator[None]:
    """Play environments inside the block. Raises ValueError where another thread does so: both would see a mixture."""
    # By identity: environments may be equal to each other, or have no hash.
    place = id(env)
    with _LOCK:
        if place in _PLAYED:
            raise ValueError(f"{env} is played by another thread: give every thread environments of its own")
        _PLAYED.add(place)
    try:
        yield
    finally:
        _PLAYED.discard(place)


_LOCK = threading.Lock()
_PLAYED: set[int] = set()


def require_spaces(env: Any, names: tuple[str, ...]) -> None:
    """Raise ValueError unless attributes of an environment are spaces."""
    for name in names:
        space = getattr(env, name, None)
        is_space = isinstance(space, Space)
        if not is_space:
            raise ValueError(f"{env}: {name} must be one of gymnasium.spaces, such as a Box; got {space!r}")


def require_task_taken(env: VectorEnv, task: ArrayLike) -> None:
    """Raise ValueError unless a vector environment takes a task [k] at `reset(options={"tasks": rows})`.

    An environment with an attribute `tasks` [n, k] is believed. In others, episodes of this task and of another are
    played.
    """
    require_vector(env)
    row = np.asarray(task, np.float64)[None]
    rows = np.repeat(row, env.num_envs, axis=0)
    # An environment that keeps `tasks` sets them at `reset`, which the rollouts call.
    if _own_tasks(env) is not None:
        return
    first, _ = play(env, rows, TIMESTEPS)
    try:
        other, _ = play(env, np.repeat(_another(row), env.num_envs, axis=0), TIMESTEPS)
    except Exception:  # an environment may reject a task by any error; if it does, it has read the task
        return
    if first.same(other, 0, 0):
        _note_without_effect(env, rows[0], _another(row)[0], TIMESTEPS, [])


def checked_sample(sample: Callable[..., Any] | None, env: Any, count: int) -> Array:
    """`count` tasks [count, k] that an environment draws.

    Raises:
        ValueError: there is no such method, it does not draw [n, k] finite numbers, or equal generators do not draw
            equal tasks.
    """
    beginning = f"{env} cannot be meta-trained: "
    if sample is None:
        raise ValueError(
            f"{beginning}it has no method sample_tasks(rng, n) -> tasks [n, k]; add one, to it or to a wrapper "
            "around it"
        )
    with _global_draws() as drawn:
        rows, again = (draw_tasks(sample, np.random.default_rng(0), count, beginning=beginning) for _ in range(2))
    if not np.isfinite(rows).all():
        raise ValueError(f"{beginning}tasks must be finite numbers; it drew {rows[~np.isfinite(rows).all(1)][0]}")
    if not np.array_equal(rows, again):
        source = f"it draws from {drawn[0]}" if drawn else "it draws from a generator of its own"
        raise ValueError(
            f"{beginning}sample_tasks(rng, n) must draw equal tasks from equal generators; {source}: draw from rng"
        )
    return rows


def _remarks_on_rows(env: VectorEnv, first: Played, given: Array, other: Array, timesteps: int) -> list[str]:
    """Remarks on whether row i of the tasks goes to environment i.

    Args:
        env: n environments.
        first: episodes of the tasks `given`, [n, k], all the same.
        given: see `first`.
        other: another task, [k].
        timesteps: of the episodes.

    Raises:
        ValueError: it does not.
    """
    remarks: list[str] = []
    last = env.num_envs - 1
    has_effect = True
    for i in sorted({0, last}):
        changed = given.copy()
        changed[i] = other
        played, _ = play(env, changed, timesteps)
        is_same = first.same(played, i, i)
        # Where row i changes nothing in environment i, it must change nothing in the other; where it changes something,
        # the other must not play the same.
        mixed = not first.same(played, last - i, last - i) if is_same else played.same(played, i, last - i)
        if last and mixed:
            raise ValueError(
                f"{env} mixes tasks up: environment {last - i} plays the task of environment {i}. Its "
                'reset(options={"tasks": rows [n, k]}) must give row i to environment i, and environments must share '
                "nothing, such as attributes of their class"
            )
        has_effect = has_effect and not is_same
    if not has_effect:
        _note_without_effect(env, given[0], other, timesteps, remarks)
    return remarks


def _note_without_effect(env: VectorEnv, task: Array, other: Array, timesteps: int, remarks: list[str]) -> None:
    """Add a remark that two tasks show no difference, or raise ValueError if the environment may have dropped them.

    An environment whose attribute `tasks` shows the rows has taken them: the tasks may differ later in an episode.
    """
    if _own_tasks(env) is not None:
        remarks.append(
            f"tasks {task} and {other} show and pay the same in {timesteps} timesteps of random actions: is "
            'options["task"] read at reset?'
        )
        return
    raise ValueError(
        f"{env} drops tasks: {task} and {other} show and pay the same in {timesteps} timesteps of random actions. Its "
        'reset(options={"tasks": rows [n, k]}) must give row i to environment i; an attribute `tasks` [n, k] says that '
        "it does where tasks show later. Of single environments that take a task, "
        "metarl.envs.LoopVectorEnv(make_env, num_envs) makes one"
    )


def _own_tasks(env: VectorEnv) -> Array | None:
    """The rows of an environment's attribute `tasks`, [0, 0] before the first reset; None without the attribute."""
    try:
        rows = of_wrapped(env, "tasks")
        return None if rows is None else np.asarray(rows)
    except (AttributeError, ValueError):
        return np.zeros((0, 0)) if hasattr(type(env.unwrapped), "tasks") else None


def _require_tasks(env: VectorEnv, given: Array) -> None:
    """Raise ValueError if an environment says that it has other tasks than it was given."""
    own = _own_tasks(env)
    if own is not None and not np.array_equal(own, given):
        raise ValueError(f"{env} drops tasks: its `tasks` must be the rows given at reset, {given[0]}; got {own[:1]}")


def _another(rows: Array) -> Array:
    """Tasks that differ from the given rows in every number but -1, which rarely is a task."""
    return rows * 1.5 + 0.5


def play(
    env: VectorEnv, tasks: Array, timesteps: int, act: Callable[[], Any] | None = None
) -> tuple[Played, dict[Any, Any]]:
    """Play episodes of the same actions in every environment, until all have ended; with the last info.

    Args:
        env: n environments.
        tasks: [n, k].
        timesteps: at most.
        act: chooses an action; None: random ones.
    """
    n = env.num_envs
    space = copy.deepcopy(env.single_action_space)
    space.seed(SEED)
    act = act or space.sample
    results = VectorResults(env)
    observations = [np.array(on_host(results.reset([SEED] * n, {"tasks": tasks})), np.float64)]
    rewards = []
    info = {}
    for _ in range(timesteps):
        actions = on_device(np.stack([act()] * n), results.device)
        seen, reward, ended, _, info = results.step(actions)
        observations.append(np.array(on_host(seen), np.float64))
        rewards.append(np.array(on_host(reward), np.float64))
        if on_host(ended).all():
            break
    return Played(np.stack(observations), np.stack(rewards)), info


@contextmanager
def _global_draws() -> Iterator[list[str]]:
    """List the global generators that the block draws from; the list is empty until the block has ended."""
    names: list[str] = []
    before = _states()
    yield names
    names += [name for name, state in _states().items() if state != before[name]]


def _states() -> dict[str, Any]:
    """The states of the global generators, comparable, by what messages call the generators."""
    _, words, position, *rest = np.random.get_state(legacy=True)
    numpys = (np.asarray(words).tobytes(), position, *rest)
    return {"NumPy's global generator (np.random)": numpys, "Python's global generator (random)": random.getstate()}

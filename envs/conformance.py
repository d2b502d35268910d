"""Public check of task families, for those who write one: `metarl.envs.check_family`."""

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from metarl.arguments import require, require_built
from metarl.arrays import Array
from metarl.envs.batched import TaskVectorEnv
from metarl.envs.family import TaskFamily
from metarl.envs.single import TaskEnv
from metarl.numeric import shown
from metarl.rl.environments import TaskDistribution
from metarl.tasks import SPLITS

ENVS = 5  # environments that the checks play in
STEPS = 12  # timesteps that they play
TASKS = 200  # tasks that are drawn from each split


def check_family(family: TaskFamily) -> None:
    """Check that a family keeps the contract: `check_family(MyFamily(option=value))`.

    Observations and actions fit their spaces; drawn tasks are valid, and some differ; episodes depend on seeds, tasks
    and actions alone; an environment is the same alone and among others, bit for bit; rewards are the sum of their
    terms; ended environments are frozen; a reset keeps tasks, and a masked reset changes no other environment;
    environments and the family pickle.

    Raises:
        ValueError: something of this does not hold; the message says what.
    """
    require_built(family=(family, TaskFamily))
    require_built(tasks=(family.tasks, TaskDistribution))
    for check in CHECKS:
        check(family)


def _spaces(family: TaskFamily) -> None:
    env = TaskVectorEnv(family, ENVS)
    space = family.action_space
    require(space == Box(-1, 1, space.shape, np.float64), f"actions must be Box(-1, 1, (A,), float64); got {space}")
    observations, _ = env.reset(seed=1)
    require(observations in env.observation_space, f"observations must be in {env.single_observation_space}")
    require(bool(family.achieved_name), "achieved_name must say what `achieved` measures")
    for with_task in (False, True):
        made = TaskVectorEnv(family, 1, task_in_observation=with_task)
        spaces = made.single_observation_space, made.single_action_space
        require(family.spaces(task_in_observation=with_task) == spaces, "spaces() must be those of the environments")
    oracle = TaskVectorEnv(family, ENVS, task_in_observation=True)
    seen, _ = oracle.reset(seed=1)
    require(_equal(seen, np.concatenate([observations, env.tasks], axis=1)), "an oracle must see the task, last")


def _tasks(family: TaskFamily) -> None:
    tasks = family.tasks
    for split in SPLITS:
        rows = tasks.sample(np.random.default_rng(0), TASKS, split)
        require(rows.shape == (TASKS, len(tasks.names)), f"sample(rng, n) must be [n, k]; got {rows.shape}")
        require(rows.dtype == np.float64, f"tasks must be float64; got {rows.dtype}")
        require(bool(tasks.valid(rows).all()), f"tasks that the split {split} draws must be valid")
        require(len(np.unique(rows, axis=0)) > 1, f"tasks of the split {split} must differ")
        again = tasks.sample(np.random.default_rng(0), TASKS, split)
        require(_equal(rows, again), "equal generators must draw equal tasks")
    rows = tasks.sample(np.random.default_rng(0), TASKS)
    require(bool(tasks.in_distribution(rows).all()), "tasks that training draws must be in the distribution")
    require(not tasks.valid(np.full_like(rows, np.nan)).any(), "tasks that are not finite must not be valid")


def _shapes(family: TaskFamily) -> None:
    tasks = _drawn(family)
    before = family.initial_state(tasks, [np.random.default_rng(i) for i in range(ENVS)])
    is_states = isinstance(before, np.ndarray) and before.ndim == 2 and len(before) == ENVS
    require(is_states, f"initial_state must be an array [n, S]; got {shown(before)}")
    actions = _actions(family)[0].clip(-1, 1)
    after = family.transition(before, actions, tasks)
    fits = isinstance(after, np.ndarray) and after.shape == before.shape
    require(fits, f"transition must be [n, S] as its states are; got {shown(after)}")
    seen = family.observe(after, tasks)
    space = family.observation_space
    fits = isinstance(seen, np.ndarray) and seen.shape == (ENVS, *space.shape)
    require(fits, f"observe must be [n, O], O as in {space}; got {shown(seen)}")
    terms = family.reward_terms(before, actions, after, tasks)
    require(isinstance(terms, dict), f"reward_terms must be a dict of arrays [n] by name; got {shown(terms)}")
    require(len(terms) > 0, "reward_terms must name at least one term")
    values: dict[str, Any] = {f"term {name} of reward_terms": values for name, values in terms.items()}
    values |= {"terminated": family.terminated(after, tasks), "diverged": family.diverged(after)}
    values |= {"achieved": family.achieved(after, tasks), "succeeded": family.succeeded(after, tasks)}
    values |= {"commanded": family.commanded(tasks)}
    for name, value in values.items():
        kind = np.bool_ if name in ("terminated", "diverged", "succeeded") else np.float64
        if value is None and name in ("succeeded", "commanded"):
            continue
        fits = isinstance(value, np.ndarray) and value.shape == (ENVS,) and value.dtype == kind
        require(fits, f"{name} must be an array [n] of {kind.__name__}; got {shown(value)}")


def _arguments(family: TaskFamily) -> None:
    """Formulas must leave their arguments as they are: a state is also the one that rewards compare with."""
    tasks = _drawn(family)
    before = family.initial_state(tasks, [np.random.default_rng(i) for i in range(ENVS)])
    actions = _actions(family)[0].clip(-1, 1)
    after = family.transition(before.copy(), actions, tasks).copy()
    calls: dict[str, tuple[Array, ...]] = {
        "transition": (before, actions, tasks),
        "observe": (after, tasks),
        "reward_terms": (before, actions, after, tasks),
        **dict.fromkeys(("terminated", "achieved", "succeeded"), (after, tasks)),
        "diverged": (after,),
        "commanded": (tasks,),
    }
    for name, arguments in calls.items():
        given = [argument.copy() for argument in arguments]
        getattr(family, name)(*given)
        kept = all(map(_equal, given, arguments))
        require(kept, f"{name} must not write into its arguments")


def _determinism(family: TaskFamily) -> None:
    episode = _play(TaskVectorEnv(family, ENVS), 7)
    again = _play(TaskVectorEnv(family, ENVS), 7)
    require(_same(episode, again), "equal seeds must give equal tasks, observations and rewards")
    env = TaskVectorEnv(family, ENVS)
    other = TaskVectorEnv(family, ENVS)
    env.reset(seed=7)
    other.reset(seed=8)
    require(not _equal(env.tasks, other.tasks), "other seeds must draw other tasks")


def _alone_as_among_others(family: TaskFamily) -> None:
    env = TaskVectorEnv(family, ENVS)
    tasks = _drawn(family)
    together = _play(env, 3, tasks)
    for i in range(ENVS):
        single = TaskEnv(family)
        observation, info = single.reset(seed=3 + i, options={"task": tasks[i]})
        steps = [(observation, info), *(single.step(action[i]) for action in _actions(family))]
        for (alone, *rest), (batched, *others) in zip(steps, together, strict=True):
            same = _equal(alone, batched[i]) and all(
                value == _row(values, i) for value, values in zip(rest, others, strict=True)
            )
            require(same, f"environment {i} must be the same alone as among {ENVS}, bit for bit")


def _row(values: Any, i: int) -> Any:
    """Entry i of an array [n] of all environments; of an info, which is a dictionary of arrays, entry i of each."""
    return {name: of_all[i] for name, of_all in values.items()} if isinstance(values, dict) else values[i]


def _rewards(family: TaskFamily) -> None:
    for _, rewards, _, _, info in _play(TaskVectorEnv(family, ENVS), 1)[1:]:
        terms = [values for name, values in info.items() if name.startswith("reward/")]
        require(np.allclose(sum(terms), rewards, rtol=1e-12), "the reward must be the sum of reward_terms")


def _ends(family: TaskFamily) -> None:
    env = TaskVectorEnv(family, ENVS, horizon=3)
    env.reset(seed=1)
    still = np.zeros((ENVS, *family.action_space.shape))
    observations, _, terminated, truncated, _ = [env.step(still) for _ in range(3)][-1]
    require(bool((terminated ^ truncated).all()), "an episode must end at the horizon, terminated or truncated")
    # A frozen environment ignores any action.
    again = env.step(np.full_like(still, np.nan))
    require(_equal(again[0], observations), "an ended environment must repeat its last observation")
    require(not again[1].any(), "an ended environment must give no reward")
    require(_equal(again[2], terminated) and _equal(again[3], truncated), "an ended environment must keep its flags")


def _resets(family: TaskFamily) -> None:
    env = TaskVectorEnv(family, ENVS)
    tasks = _drawn(family)
    mask = np.arange(ENVS) % 2 == 0
    _play(env, 1)
    own = env.tasks
    env.reset()
    require(_equal(env.tasks, own), "a reset without tasks and seed must keep the tasks")
    env = TaskVectorEnv(family, ENVS)
    before = _play(env, 1)[-1][0]
    after, _ = env.reset(seed=50, options={"reset_mask": mask, "tasks": tasks})
    fresh, _ = TaskVectorEnv(family, ENVS).reset(seed=50, options={"tasks": tasks})
    require(_equal(after[~mask], before[~mask]), "a masked reset must leave the other environments as they were")
    require(_equal(after[mask], fresh[mask]), "a masked reset must start its environments as any other does")
    require(_equal(env.tasks, np.where(mask[:, None], tasks, own)), "a masked reset must set its own tasks alone")


def _pickles(family: TaskFamily) -> None:
    env = TaskVectorEnv(family, ENVS)
    actions = _actions(family)
    env.reset(seed=1, options={"tasks": _drawn(family)})
    env.step(actions[0])
    others = pickle.loads(pickle.dumps(env)), copy.deepcopy(env)
    expected = env.step(actions[1])[0]
    for other in others:
        require(_equal(other.tasks, env.tasks), "a pickled or copied environment must keep its tasks")
        require(_equal(other.step(actions[1])[0], expected), "a pickled or copied environment must go on as it was")
    require(pickle.loads(pickle.dumps(family)) == family, "a pickled family must equal itself")


CHECKS: tuple[Callable[[TaskFamily], None], ...] = (
    _tasks,
    _shapes,
    _arguments,
    _determinism,
    _spaces,
    _alone_as_among_others,
    _rewards,
    _ends,
    _resets,
    _pickles,
)


def _play(env: TaskVectorEnv, seed: int, tasks: Array | None = None) -> list[Any]:
    """Everything that `reset`, and `step` with each of a few random actions, return."""
    begun = env.reset(seed=seed, options={} if tasks is None else {"tasks": tasks})
    return [begun, *(env.step(action) for action in _actions(env.process))]


def _actions(process: Any) -> Array:
    """Random actions [STEPS, ENVS, A], some of them out of bounds."""
    return np.random.default_rng(1).uniform(-1.5, 1.5, (STEPS, ENVS, *process.action_space.shape))


def _drawn(family: TaskFamily) -> Array:
    return family.tasks.sample(np.random.default_rng(0), ENVS)


def _equal(value: Any, other: Any) -> bool:
    return np.array_equal(value, other, equal_nan=True)


def _same(episode: list[Any], other: list[Any]) -> bool:
    """Whether other episodes are the same in everything that was returned."""
    pairs = itertools.chain.from_iterable(zip(*both, strict=True) for both in zip(episode, other, strict=True))
    return all(all(_equal(a[name], b[name]) for name in a) if isinstance(a, dict) else _equal(a, b) for a, b in pairs)

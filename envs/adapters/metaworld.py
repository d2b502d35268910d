"""Meta-World (Yu et al. 2019): a robot arm whose tasks are goals of one skill (ML1), or several skills (ML10).

Registered with Gymnasium, and so trained in as anybody's environment is: see `MetaWorld`. Meta-World itself is imported
when the first environment is made.

Axes: n tasks, each a row of 2 numbers.
"""

import functools
import importlib
from types import SimpleNamespace
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import Space
from numpy.typing import NDArray

from metarl.arrays import Array, Mask
from metarl.envs.opengl import prepare
from metarl.extras import needs
from metarl.rl.environments import Split

EPISODE = 500  # timesteps, after which Meta-World itself ends an episode
WELD = 11  # numbers of a weld in the models of MuJoCo 3, of which Meta-World writes all


class Benchmark(NamedTuple):
    """The classes and goals of a benchmark. A task is the row (index of the class, index of the goal)."""

    names: tuple[str, ...]  # of the classes, those of training first
    classes: tuple[type[gymnasium.Env], ...]
    goals: tuple[tuple[Any, ...], ...]  # of each class, as its `set_task` takes them
    train: Array  # rows [n, 2]
    test: Array  # rows [n, 2]
    observation_space: Space
    action_space: Space


class MetaWorld(gymnasium.Env[Array, NDArray[Any]]):
    """An environment of ML1 or ML10: a Sawyer arm that does not see its goal.

    Observations [39] are this and the last timestep's positions of the hand and of objects; actions [4] move the hand,
    and close the gripper. A reward is at most 10. `info["success"]` says that the goal is reached.

    Of ML1, training and test have 50 goals each of one skill; of ML10, 50 goals of each of 10 skills, and of each of 5
    others. There is no third split: validation draws from training's tasks.

    Args:
        benchmark: "ML1" or "ML10".
        env_name: the skill of ML1, such as "push-v3"; None with ML10.
        seed: of the goals, which Meta-World draws at random.
        render_mode: None or "rgb_array".

    Raises:
        MissingExtraError: Meta-World is not installed.
        ValueError: an unknown benchmark or skill, or a seed that is no whole number.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 80}
    task_names = ("class", "goal")

    def __init__(
        self, benchmark: str, env_name: str | None = None, seed: int = 0, render_mode: str | None = None
    ) -> None:
        self.benchmark = drawn(benchmark, env_name, seed)
        self.observation_space = self.benchmark.observation_space
        self.action_space = self.benchmark.action_space
        self.render_mode = render_mode
        # A model of MuJoCo takes a tenth of a second and 14 MB: only a reset makes one.
        self._simulation: gymnasium.Env | None = None

    def sample_tasks(self, rng: np.random.Generator, n: int, split: Split = "train") -> Array:
        """Draw n tasks of a split, [n, 2], each as often as any other, whatever was drawn before."""
        rows = self.benchmark.test if split == "test" else self.benchmark.train
        return rows[rng.integers(len(rows), size=n)]

    def in_distribution(self, tasks: Array) -> Mask:
        """Which rows are tasks of training, [n]."""
        return (tasks[:, None] == self.benchmark.train).all(2).any(1)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start an episode of `options["task"]`; without it, of the last one, or of a task of training.

        Raises:
            ValueError: there is no such task.
        """
        super().reset(seed=seed)
        if "task" in (options := options or {}):
            self._set_task(np.asarray(options["task"], np.float64))
        elif self._simulation is None:
            self._set_task(self.sample_tasks(self.np_random, 1)[0])
        return self._running.reset()

    def step(self, action: NDArray[Any]) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Step the simulation; `success` is a truth value."""
        observation, reward, terminated, truncated, info = self._running.step(action)
        success = bool(info.get("success", False))
        return observation, float(reward), terminated, truncated, info | {"success": success}

    def render(self) -> Any:
        """The picture of Meta-World's camera `corner`, [height, width, 3]; None without a render mode."""
        prepare()
        picture = self._running.render()
        # That camera hangs upside down.
        return None if picture is None else np.ascontiguousarray(np.asarray(picture)[::-1, ::-1])

    def close(self) -> None:
        """Free the simulation."""
        if self._simulation is not None:
            self._simulation.close()
            self._simulation = None

    @property
    def _running(self) -> gymnasium.Env:
        if self._simulation is None:
            raise ValueError("no episode has started: call reset first")
        return self._simulation

    def _set_task(self, task: Array) -> None:
        goals = self.benchmark.goals
        which, goal = task.astype(int).tolist() if task.shape == (2,) and np.isfinite(task).all() else (-1, -1)
        known = 0 <= which < len(goals) and 0 <= goal < len(goals[which])
        if not known or (which, goal) != tuple(task):
            sizes = ", ".join(f"{len(own)} of {name}" for name, own in zip(self.benchmark.names, goals, strict=True))
            raise ValueError(f"a task is (class, goal), indices from 0 of these goals: {sizes}; got {task}")
        kind = self.benchmark.classes[which]
        if type(self._simulation) is not kind:
            self.close()
            drawing: dict[str, Any] = {"render_mode": self.render_mode, "camera_name": "corner"}
            self._simulation = kind(**drawing) if self.render_mode else kind()
        self._running.set_task(goals[which][goal])  # pyright: ignore[reportAttributeAccessIssue]


for name, given in (("ML1", {"env_name": "reach-v3"}), ("ML10", {})):
    gymnasium.register(
        f"metarl/{name}-v0",
        entry_point=f"{__name__}:MetaWorld",
        max_episode_steps=EPISODE,
        disable_env_checker=True,  # it warns of the three observations that Meta-World sets to 0 in place of the goal
        kwargs={"benchmark": name, **given},
    )


@functools.cache
def drawn(benchmark: str, env_name: str | None, seed: int) -> Benchmark:
    """Let Meta-World draw the goals of a benchmark, once a process: that takes seconds.

    Raises:
        MissingExtraError: Meta-World is not installed.
        ValueError: an unknown benchmark or skill, or a seed that is no whole number.
    """
    # Without a seed every process would draw goals of its own.
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be a whole number, at least 0; got {seed!r}")
    with needs("metaworld", "environments of Meta-World"):
        metaworld: Any = importlib.import_module("metaworld")
        adapt_welds(importlib.import_module("metaworld.sawyer_xyz_env").SawyerMocapBase)
    skills = {"ML1": metaworld.ML1.ENV_NAMES, "ML10": [None]}
    if benchmark not in skills:
        raise ValueError(f"benchmark must be ML1 or ML10; got {benchmark!r}")
    if env_name not in skills[benchmark]:
        right = ", ".join(map(str, skills[benchmark]))
        raise ValueError(f"env_name of {benchmark} must be one of {right}; got {env_name!r}")
    made = metaworld.ML10(seed=seed) if env_name is None else metaworld.ML1(env_name, seed=seed)
    classes = {**made.train_classes, **made.test_classes}
    names = tuple(classes)
    goals: tuple[list[Any], ...] = tuple([] for _ in names)

    def rows(tasks: list[Any]) -> Array:
        numbered = []
        for task in tasks:
            which = names.index(task.env_name)
            numbered.append((which, len(goals[which])))
            goals[which].append(task)
        return np.array(numbered, np.float64)

    train, test = rows(made.train_tasks), rows(made.test_tasks)
    one = classes[names[0]]()
    spaces = one.observation_space, one.action_space
    one.close()
    return Benchmark(names, tuple(classes.values()), tuple(map(tuple, goals)), train, test, *spaces)


def adapt_welds(base: Any) -> None:
    """Make `reset_mocap_welds` of Meta-World's base class work with MuJoCo 4; a second call changes nothing.

    It writes rows of 11 numbers to `eq_data`, whose rows have 12 since MuJoCo 4. Where that fails, it is given a view
    of the first 11, which mean what they did; the twelfth stays as the model was compiled.
    """
    own = base.reset_mocap_welds
    if hasattr(own, "__wrapped__"):
        return

    @functools.wraps(own)
    def reset_mocap_welds(env: Any) -> None:
        try:
            own(env)
        except ValueError:
            model = env.model
            narrow = SimpleNamespace(nmocap=model.nmocap, eq_type=model.eq_type, eq_data=model.eq_data[:, :WELD])
            own(SimpleNamespace(model=narrow))

    base.reset_mocap_welds = reset_mocap_welds

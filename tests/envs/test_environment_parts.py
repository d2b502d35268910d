"""Environments as parts: found by name, built, looked at and closed."""

import abc
import dataclasses
import functools
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from scripts import TOY, run
from small_environments import Target

from examples import line, pendulum
from metarl.envs import ENVIRONMENTS, GymnasiumEnvironment, LoopVectorEnv, Navigation2D, TaskVectorEnv, make_family
from metarl.envs.adapters.gymnasium_part import misspelt
from metarl.envs.goals import Forward
from metarl.envs.locomotion import Locomotion
from metarl.envs.robots.half_cheetah import GYMNASIUM
from metarl.parts import options

RECORD: list[str] = []


class Recorded(pendulum.GravityPendulum):
    """Writes down what happens to it."""

    def __init__(self, sparse: Any = None, name: Any = None, sizes: Any = (), **others: Any) -> None:
        super().__init__(**others)
        RECORD.append(f"made {sparse!r} {name!r} {sizes!r}")

    def close(self) -> None:
        RECORD.append("closed")
        super().close()


class Broken(pendulum.GravityPendulum):
    """Has a mistake in its constructor."""

    def __init__(self, **others: Any) -> None:
        super().__init__()
        len(3)  # pyright: ignore[reportArgumentType]


gymnasium.register("Recorded-v0", entry_point=f"{__name__}:Recorded")
gymnasium.register("Broken-v0", entry_point=f"{__name__}:Broken")


def anybodys(environment_id: str, **values: Any) -> GymnasiumEnvironment:
    kind: Any = ENVIRONMENTS.find(environment_id)
    return kind(environment_options=values)


def test_families_are_found_by_id_and_by_module() -> None:
    assert ENVIRONMENTS.find("metarl/Navigation2D-v0") is Navigation2D
    assert ENVIRONMENTS.find("examples.line:Line") is line.Line
    assert ENVIRONMENTS.find("examples.line:example/Line-v0") is line.Line
    assert ENVIRONMENTS.name_of(line.Line()).startswith("examples.line:")  # what another process can find
    assert ENVIRONMENTS.name_of(Navigation2D()) == "metarl/Navigation2D-v0"


def test_gymnasiums_ids_are_found_with_and_without_a_module() -> None:
    part: Any = ENVIRONMENTS.find("examples.pendulum:GravityPendulum-v0")()
    assert isinstance(part, GymnasiumEnvironment)
    assert ENVIRONMENTS.name_of(part) == "examples.pendulum:GravityPendulum-v0"
    assert type(part) is ENVIRONMENTS.find("GravityPendulum-v0")
    assert part.tasks.names == pendulum.GravityPendulum.task_names
    assert pickle.loads(pickle.dumps(part)) == part
    observations, actions = part.spaces(task_in_observation=True)
    assert (observations.shape, actions.shape) == ((4,), (1,))
    assert part.commanded(np.zeros((2, 1))) is None
    rows = part.tasks.sample(np.random.default_rng(0), 500)
    assert rows.shape == (500, 1)
    assert part.tasks.in_distribution(rows).all()
    assert not part.tasks.valid(np.array([[np.nan]])).any()
    env = part.build(3, horizon=7, task_in_observation=True)
    assert isinstance(env, LoopVectorEnv)
    assert env.reset(seed=0, options={"tasks": rows[:3]})[0].shape == (3, 4)
    for name in ("Chess-v0", "examples.pendulum:Chess-v0"):
        with pytest.raises(ValueError, match=r"unknown environment 'Chess-v0'|has no Chess-v0"):
            ENVIRONMENTS.find(name)


class Makers:
    """Things that make environments when they are called."""

    @classmethod
    def of_the_class(cls, **others: Any) -> Any:
        return pendulum.GravityPendulum(**others)

    def __call__(self, **others: Any) -> Any:
        return pendulum.GravityPendulum(**others)


called = Makers()
partial = functools.partial(pendulum.GravityPendulum, render_mode="rgb_array")


class Unfinished(pendulum.GravityPendulum, abc.ABC):
    @abc.abstractmethod
    def rod(self) -> float: ...


def test_what_is_called_is_shown_as_what_it_calls() -> None:
    assert cast(Any, ENVIRONMENTS.find("test_environment_parts:partial")).shown == "examples.pendulum:GravityPendulum"
    assert cast(Any, ENVIRONMENTS.find("test_environment_parts:called")).shown == "test_environment_parts:Makers"


def test_what_makes_no_environments() -> None:
    one = pendulum.GravityPendulum()
    with pytest.raises(ValueError, match=r"must be made anew whenever one is asked for; got <GravityPendulum.* twice"):
        LoopVectorEnv(lambda: one, 2)
    kind: Any = ENVIRONMENTS.find("test_environment_parts:Unfinished")
    with pytest.raises(ValueError, match="environment 'test_environment_parts:Unfinished' is abstract: it lacks rod"):
        kind().build(1, horizon=1)


@pytest.mark.parametrize(
    "name",
    [
        "examples.pendulum:GravityPendulum",
        "test_environment_parts:made_by_a_function",
        "test_environment_parts:Makers.of_the_class",
        "test_environment_parts:called",
        "test_environment_parts:partial",
    ],
)
def test_classes_and_functions_are_parts_by_their_names(name: str) -> None:
    kind: Any = ENVIRONMENTS.find(name)
    part = kind(environment_options={"g": 3.0}, workers=2)
    assert ENVIRONMENTS.name_of(part) == name
    again = pickle.loads(pickle.dumps(part))
    assert again == part
    assert again.tasks.names == pendulum.GravityPendulum.task_names
    with pytest.raises(ValueError, match="has no option 'gravity'"):
        kind(environment_options={"gravity": 3}).build(1, horizon=1)


def test_vector_environments_are_parts_by_their_names(tmp_path: Path) -> None:
    kind: Any = ENVIRONMENTS.find("small_environments:Levers")
    part = kind()
    assert pickle.loads(pickle.dumps(part)) == part
    assert part.tasks.names == ("task_0",)
    rows = part.tasks.sample(np.random.default_rng(0), 50)
    assert set(rows[:, 0]) == {1, 2, 3}
    assert part.tasks.in_distribution(rows).all()
    assert part.build(2, horizon=3).horizon == 3
    np.testing.assert_array_equal(part.own_actions(np.array([0, 2])[:, None]), [1, 3])  # levers are numbered from 1
    with pytest.raises(ValueError, match="Levers has no parameter 'width': it has num_envs, horizon"):
        kind(environment_options={"width": 3}).build(2, horizon=3)
    with pytest.raises(ValueError, match="Levers cannot be made with render_mode 'rgb_array': add a parameter"):
        part.build(2, horizon=3, render_mode="rgb_array")
    result = run("train", "custom", "--environment", "small_environments:Levers", *TOY, "--run-dir", tmp_path / "run")
    assert result.returncode == 0, result.stderr


def test_what_is_said_of_vector_environments_where_a_training_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    part: Any = ENVIRONMENTS.find("small_environments:Target")()
    (told,) = part.remarks(5)
    assert told.startswith("actions outside Box[1] in [-1, 1], which are sampled now and then")
    monkeypatch.setattr(Target, "task_names", ["goal", "speed"], raising=False)
    with pytest.raises(ValueError, match="task_names must be a list of 1 different names"):
        ENVIRONMENTS.find("small_environments:Target")().remarks(5)


def made_by_a_function(*, g: float = 10.0) -> gymnasium.Env:
    return pendulum.GravityPendulum(g=g)


def test_options_of_anybodys_environment_keep_their_types() -> None:
    def made(**values: Any) -> str:
        RECORD.clear()
        anybodys("Recorded-v0", **values).build(1, horizon=1).close()
        return RECORD[0]

    assert made(sparse="False", name="plain text", sizes="[1, 2.5]") == "made False 'plain text' [1, 2.5]"
    assert made(sparse="None", name="'7'", sizes="(1,)") == "made None '7' (1,)"
    assert made(sparse=True, name="7", sizes=3) == "made True 7 3"


def test_options_that_look_like_what_they_are_not() -> None:
    """The text `false` counts as true, and was taken without a word."""
    options = {"sparse": "false", "name": "'none'", "wind": "TRUE", "size": None, "kind": "truer", "plain": "False"}
    given, text = "which counts as true: give", "for the text"
    assert misspelt(options) == [
        f"the environment option sparse is the text 'false', {given} False, or \"'false'\" {text}",
        f"the environment option wind is the text 'TRUE', {given} True, or \"'TRUE'\" {text}",
    ]
    assert any("name is the text 'none'" in remark for remark in anybodys("Recorded-v0", name="none").remarks(200))


def test_environments_that_are_only_looked_at_are_closed() -> None:
    RECORD.clear()
    part = anybodys("Recorded-v0")
    part.spaces()
    part.tasks.sample(np.random.default_rng(0), 2)
    assert RECORD.count("closed") == len(RECORD) / 2 > 0
    RECORD.clear()

    def make() -> Any:
        env = Recorded()
        env.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
        return env

    with pytest.raises(ValueError, match="actions must be a bounded vector"):
        LoopVectorEnv(make, 2)
    assert RECORD[-1] == "closed"


def test_options_it_does_not_have_are_named_and_its_own_mistakes_are_its_own() -> None:
    with pytest.raises(ValueError, match="environment 'Recorded-v0' has no option 'gravity'"):
        anybodys("Recorded-v0", gravity=3).build(1, horizon=1)
    with pytest.raises(TypeError, match="object of type 'int' has no len"):
        anybodys("Broken-v0", gravity=3).build(1, horizon=1)
    with pytest.raises(ValueError, match="it has no method sample_tasks"):
        anybodys("Pendulum-v1").build(1, horizon=1)


def test_what_info_says_is_passed_on() -> None:
    class Telling(pendulum.GravityPendulum):
        def step(self, u: Any) -> Any:
            seen, reward, terminated, truncated, _ = super().step(u)
            return (
                seen,
                reward,
                terminated,
                truncated,
                {"success": self.g > 10, "reward/cost": float(u[0]), "note": "x"},
            )

    env = LoopVectorEnv(lambda: gymnasium.wrappers.TimeLimit(Telling(), 2), 2)
    env.reset(seed=0, options={"tasks": [[9.0], [11.0]]})
    info = env.step(np.array([[0.5], [-1.0]]))[4]
    np.testing.assert_array_equal(info["success"], [False, True])
    np.testing.assert_array_equal(info["reward/cost"], [1.0, -2.0])
    assert set(info) == {"achieved", "diverged", "success", "reward/cost"}
    env.step(np.ones((2, 1)))
    np.testing.assert_array_equal(env.step(np.ones((2, 1)))[4]["reward/cost"], 0)  # frozen


def test_task_methods_are_found_through_wrappers() -> None:
    class Given(gymnasium.Wrapper):
        task_names = ("gravity [m/s^2]",)

        def sample_tasks(self, rng: np.random.Generator, n: int) -> Any:
            return rng.uniform(5, 15, (n, 1))

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            self.unwrapped.g = float(options["task"][0])  # pyright: ignore[reportAttributeAccessIssue]
            return self.env.reset(seed=seed)

    env = LoopVectorEnv(lambda: Given(gymnasium.make("Pendulum-v1")), 2)
    assert env.task_names == ("gravity [m/s^2]",)
    env.reset(seed=0)
    assert [one.unwrapped.g for one in cast(Any, env._group).envs] == [row[0] for row in env.tasks]  # pyright: ignore


def test_every_batch_has_a_simulator_of_its_own() -> None:
    part = make_family("metarl/AntDir-v1")
    one, two = part.build(2, horizon=5), part.build(3, horizon=7)
    assert isinstance(one, TaskVectorEnv)
    assert one.process == two.process == part
    assert cast(Locomotion, one.process).physics is not cast(Locomotion, two.process).physics
    assert (one.horizon, two.horizon) == (5, 7)


@pytest.mark.parametrize("environment_id", [name for name in ENVIRONMENTS.names if name.startswith("metarl/")])
def test_every_option_says_what_it_means(environment_id: str) -> None:
    kind = ENVIRONMENTS.find(environment_id)
    assert all(option.words for option in options(kind))
    assert kind.__doc__


ROBOT = """
<mujoco>
  <worldbody>
    <body name="torso"><joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/><geom size="0.1"/></body>
  </worldbody>
  <actuator><motor joint="0" ctrlrange="{range}"/></actuator>
</mujoco>
"""


@pytest.mark.parametrize("strongest", [0.4, 1.0])
def test_a_robot_is_one_file_and_actions_are_shares_of_its_motors(strongest: float, tmp_path: Path) -> None:
    xml = ROBOT.replace('joint type="slide" axis="1 0 0"', 'joint name="0" type="slide" axis="1 0 0"')
    (tmp_path / "sled.xml").write_text(xml.format(range=f"{-strongest} {3 * strongest}"))
    (tmp_path / "loose.xml").write_text(xml.replace(' ctrlrange="{range}"', ""))

    @dataclass(frozen=True, kw_only=True)
    class Sled(Locomotion):
        """A mass that is pushed."""

        robots = {"gymnasium": dataclasses.replace(GYMNASIUM, xml=str(tmp_path / "sled.xml"), frame_skip=1)}
        goal = Forward()

    family = Sled()
    rest = family.physics.start(np.zeros((3, 2)), np.zeros((3, 2)))
    states = np.concatenate([rest, np.zeros((3, 1))], axis=1)
    after = family.transition(states, np.array([[-1.0], [0.0], [1.0]]), np.zeros((3, 0)))
    speed = family.physics.of(after, "qvel")[:, 0]
    np.testing.assert_allclose(speed / speed[2], [-1 / 3, 1 / 3, 1], rtol=1e-6)
    assert speed[2] == pytest.approx(3 * strongest * 0.01 / family.physics.model.body_mass[1], rel=1e-6)
    with pytest.raises(ValueError, match="dynamics of this robot must be 'gymnasium'; got 'paper'"):
        Sled(dynamics="paper")

    @dataclass(frozen=True, kw_only=True)
    class Loose(Sled):
        """A mass whose motor has no bounds."""

        robots = {"gymnasium": dataclasses.replace(GYMNASIUM, xml=str(tmp_path / "loose.xml"))}

    with pytest.raises(ValueError, match=r"loose\.xml needs a ctrlrange"):
        Loose().transition(states, np.zeros((3, 1)), np.zeros((3, 0)))

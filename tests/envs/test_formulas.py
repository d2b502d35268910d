"""The formulas of every family: the same on torch's tensors, and with the paper's coefficients."""

import typing
from typing import Any, cast

import numpy as np
import pytest
import torch

from metarl.envs import ENVIRONMENTS, Locomotion, TaskFamily, make_family
from metarl.envs.point import Point
from metarl.parts import options

ENDLESS = ("HalfCheetah", "SparseCorner", "HalfCircle")  # episodes of these never terminate
OURS = [name for name in ENVIRONMENTS.names if name.startswith("metarl/")]


def rewards_of(environment_id: str) -> tuple[str, ...]:
    """The kinds of reward that a family of points offers."""
    hints = {option.name: option.hint for option in options(ENVIRONMENTS.find(environment_id))}
    return typing.get_args(hints["reward"])


CASES = [
    (name, options)
    for name in OURS
    for options in (
        [
            {"dynamics": dynamics, "observation": kind}
            for dynamics in ("gymnasium", "paper")
            for kind in ("raw", "compact")
        ]
        if issubclass(ENVIRONMENTS.find(name), Locomotion)
        else [{"reward": kind} for kind in rewards_of(name)]
    )
]


def visited(family: TaskFamily, n: int = 6) -> tuple[Any, Any, Any, Any]:
    """Some states, actions, the states after those, and tasks."""
    rng = np.random.default_rng(0)
    tasks = family.tasks.sample(rng, n)
    states = family.initial_state(tasks, [np.random.default_rng(i) for i in range(n)])
    path, actions = [states], rng.uniform(-1, 1, (10, n, *family.action_space.shape))
    for action in actions:
        path.append(family.transition(path[-1], action, tasks))
    return path[-2], actions[-1], path[-1], tasks


@pytest.mark.parametrize(("environment_id", "options"), CASES)
def test_formulas_take_tensors_as_they_take_arrays(environment_id: str, options: dict[str, Any]) -> None:
    family = make_family(environment_id, **options)
    before, actions, after, tasks = visited(family)
    if isinstance(family, Locomotion):
        family.physics.of(after, "qpos")[0, 1:3] = 0.1  # a robot that has fallen: the height is one of these
    else:
        after[0] = cast(Point, family).goals(tasks)[0]  # a point that has arrived
    arrays = before, actions, after, tasks
    tensors = tuple(torch.from_numpy(array.copy()) for array in arrays)

    def formulas(before: Any, actions: Any, after: Any, tasks: Any) -> dict[str, Any]:
        return family.reward_terms(before, actions, after, tasks) | {
            "observation": family.observe(after, tasks),
            "terminated": family.terminated(after, tasks),
            "diverged": family.diverged(after),
            "achieved": family.achieved(after, tasks),
            "commanded": family.commanded(tasks),
            "succeeded": family.succeeded(after, tasks),
        }

    expected = formulas(*arrays)
    for name, value in formulas(*tensors).items():
        if expected[name] is None:
            assert value is None
        else:
            assert isinstance(value, torch.Tensor), name
            assert torch.from_numpy(np.array(expected[name])).dtype == value.dtype
            np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-12, err_msg=name)
    # Nor do they look at values, or bring anything of the host's: nothing of a timestep waits for a GPU.
    without_values = formulas(*(tensor.to("meta") for tensor in tensors))
    assert all(value is None or value.is_meta for value in without_values.values())
    assert expected["terminated"].any() == (not any(name in environment_id for name in ENDLESS))


@pytest.mark.parametrize("dynamics", ["gymnasium", "paper"])
def test_more_mass_is_run_forward_not_backward(dynamics: str) -> None:
    family = cast(Locomotion, make_family("metarl/HalfCheetahMass-v0", dynamics=dynamics))
    plain = cast(Locomotion, make_family("metarl/HalfCheetahDir-v0", dynamics=dynamics))
    before, actions, after, tasks = visited(family, 20)
    forward = plain.reward_terms(before, actions, after, np.ones((20, 1)))
    terms = family.reward_terms(before, actions, after, tasks)
    assert (terms["goal"] > 0).any()
    assert (terms["goal"] < 0).any()
    for name in terms:
        np.testing.assert_array_equal(terms[name], forward[name])
    np.testing.assert_array_equal(family.achieved(after, tasks), plain.achieved(after, np.ones((20, 1))))
    x = family.physics.of(after, "qpos")[:, 0] - after[:, -1]
    np.testing.assert_allclose(family.achieved(after, tasks), x / family.physics.of(after, "time")[:, 0])


@pytest.mark.parametrize(("height", "falls"), [(0.19, True), (0.21, False), (0.99, False), (1.01, True)])
@pytest.mark.parametrize("dynamics", ["gymnasium", "paper"])
def test_the_height_at_which_an_ant_has_fallen(height: float, falls: bool, dynamics: str) -> None:
    family = cast(Locomotion, make_family("metarl/AntDir-v1", dynamics=dynamics))
    _, actions, after, tasks = visited(family, 1)
    family.physics.of(after, "qpos")[0, 2] = height
    assert family.terminated(after, tasks)[0] == falls
    alive = family.reward_terms(after, actions, after, tasks)["alive"][0]
    assert alive == (0.0 if falls and dynamics == "gymnasium" else 0.05)


@pytest.mark.parametrize("environment_id", [name for name in OURS if "Cheetah" in name or "Ant" in name])
@pytest.mark.parametrize("dynamics", ["gymnasium", "paper"])
def test_rewards_by_formulas_written_once_more(environment_id: str, dynamics: str) -> None:
    family = cast(Locomotion, make_family(environment_id, dynamics=dynamics))
    before, actions, after, tasks = visited(family)
    of, paper, ant = family.physics.of, dynamics == "paper", "Ant" in environment_id
    seconds = (0.02 if ant else 0.01) if paper else 0.05
    velocity = of(after, "subtree_linvel")[:, 0] if paper else (of(after, "qpos") - of(before, "qpos"))[:, 0] / seconds
    place = of(after, "subtree_com")[:, :2] if paper else of(after, "qpos")[:, :2]
    if "Vel" in environment_id:
        expected = (1.0 if ant else 0.0) - np.abs(velocity - tasks[:, 0])
    elif "Dir" in environment_id:
        expected = np.where(tasks[:, 0] == 1, velocity, -velocity)
    elif "Goal" in environment_id:
        expected = 4.0 - np.linalg.norm(place - tasks, ord=1, axis=1)
    else:
        expected = velocity
    expected = expected - (0.005 if ant else 0.05) * np.linalg.norm(actions, axis=1) ** 2
    if ant:
        expected += 0.05 - 0.0005 * np.linalg.norm(np.clip(of(after, "cfrc_ext"), -1, 1), axis=1) ** 2
    total = sum(family.reward_terms(before, actions, after, tasks).values())
    assert not family.terminated(after, tasks).any()
    np.testing.assert_allclose(total, expected, rtol=1e-9)


def test_commands_are_the_tasks_velocities() -> None:
    tasks = np.array([[0.5], [1.5]])
    for environment_id in OURS:
        commanded = make_family(environment_id).commanded(np.tile(tasks, (1, 50)))
        if "Vel" in environment_id:
            np.testing.assert_array_equal(cast(Any, commanded), [0.5, 1.5])
        else:
            assert commanded is None

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded: see experiments/__init__.py

import pytest
import torch
from gymnasium.spaces import Box
from scripts import TOY, run
from torch import Tensor, nn

from metarl.engine.maml import Learner
from metarl.engine.model import Model, mlp
from metarl.engine.module import from_module
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.params import Params
from metarl.engine.rules import RULES, GradientRule, InnerRule, Rule, first_order
from metarl.engine.rules.sgd import SGD
from metarl.rl.episodes import PolicyBatch
from metarl.rl.losses import policy_gradient
from metarl.rl.outer_losses import OuterPolicyLoss, functions_of
from metarl.rl.policies.gaussian_mlp import GaussianMLP
from metarl.rl.problem import SURROGATE

TASKS = 3

# Processes of the tests find the list of fonts that takes Matplotlib a second to make; other caches are a test's own.
CACHES = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
os.environ.setdefault("MPLCONFIGDIR", str(CACHES / "matplotlib"))

# A tenth of the tests' time went into looking for garbage among the modules that they import, of which all stays.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000)  # objects, in place of 700


# The files of tests that take longest, in seconds. They are begun first, so that no worker is left alone with one.
LONGEST = {
    "test_no_dead_options": 24,
    "test_distributed": 20,
    "test_registry": 16,
    "test_models": 16,
    "test_locomotion": 15,
    "test_supervised": 14,
    "test_loop": 11,
    "test_benchmark": 11,
    "test_commands": 10,
    "test_maml": 8,
    "test_reproduce": 7,
    "test_maml_trpo": 7,
    "test_opengl": 7,
    "test_curvature": 6,
    "test_own_parts": 5,
    "test_walkers": 5,
    "test_supervised_problem": 5,
    "test_installed": 4,
    "test_pages": 4,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: -LONGEST.get(item.path.stem, 0))


# A shell's background job ignores Ctrl-C, and so would the processes of the tests, some of which are about it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def unsynced() -> Iterator[None]:
    """Files need not survive a power cut: how long a disk takes to write is no part of any test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder is left alone; also by scripts, which inherit the variable."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "metarl"


NO_FIGURE = ("metarl.experiments.evaluate._for_tensorboard", lambda *_: None)


@pytest.fixture
def drawn() -> None:
    """Of tests that look at the figure that an evaluation draws for TensorBoard."""


@pytest.fixture
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations draw no figure for TensorBoard, which is most of their time, where nobody looks at it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(*NO_FIGURE)


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Has figures become empty PNG files from its call on: to paint them is most of a plot's time."""
    return lambda: monkeypatch.setattr("metarl.experiments.commands.output_files._png", lambda *_: b"")


@pytest.fixture
def tasks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tasks each pass for meta-gradients had, filled while a test runs."""
    seen: list[int] = []
    whole = Learner.task_gradients

    def watched(self: Learner, loss: Any, theta: Params, support: Any, query: Any, **options: bool) -> Any:
        seen.append(len(query.targets))
        return whole(self, loss, theta, support, query, **options)

    monkeypatch.setattr(Learner, "task_gradients", watched)
    return seen


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was printed since it was last asked for, as one line without the boxes of help."""

    def line() -> str:
        return " ".join(capsys.readouterr().out.replace("│", " ").split())

    return line


class Regression(NamedTuple):
    inputs: Tensor  # [M, N, 2]
    targets: Tensor  # [M, N, 2]


def double(params: Params) -> Params:
    return {name: leaf.double() for name, leaf in params.items()}


def parameters(model: Model, seed: int = 1) -> Params:
    """Initial parameters in float64, moved off the kinks that zero biases put a ReLU network on."""
    theta = double(model.init(generator(0)))
    g = generator(seed)
    return {
        name: leaf + 0.1 * torch.randn(leaf.shape, generator=g, dtype=torch.float64) for name, leaf in theta.items()
    }


def sgd(*sizes: float) -> InnerRule:
    """MAML's rule with a size for each step, the last one repeating."""
    return SGD().build(sizes)


def rule_part(name: str, **options: Any) -> Rule:
    """A registered rule with some of its own options."""
    return cast(Any, RULES.find(name))(**options)


def rule_part_of(name: str, model: Model) -> Rule:
    """A registered rule that fits a model, whatever its layers are called."""
    head, first = ("head.*", "body.0") if "head.bias" in model.init(generator(0)) else ("layers.3.*", "layers.0")
    return rule_part(name, **{"anil": {"adapted": (head,)}, "cavia": {"context_layer": first}}.get(name, {}))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def regression(seed: int, tasks: int = TASKS, points: int = 6) -> Regression:
    g = generator(seed)
    return Regression(*(torch.randn(tasks, points, 2, generator=g, dtype=torch.float64) for _ in range(2)))


def gaussian_mlp(observation_size: int, action_size: int, **options: Any) -> Model:
    """The Gaussian policy for vectors of these sizes."""
    return GaussianMLP(**options).build(Box(-1, 1, (observation_size,)), Box(-1, 1, (action_size,)))


def policy_data(seed: int, tasks: int = TASKS, horizon: int = 5, episodes: int = 4) -> PolicyBatch:
    """Random policy data [M, T, E, ...], some of it masked; behaviour log_probs near a fresh policy's."""
    g = generator(seed)

    def randn(*size: int) -> Tensor:
        return torch.randn(tasks, horizon, episodes, *size, generator=g, dtype=torch.float64)

    lengths = torch.randint(1, horizon + 1, (tasks, 1, episodes), generator=g)
    mask = (torch.arange(horizon)[None, :, None] < lengths).double()
    return PolicyBatch(randn(2), randn(2), -2.5 + 0.1 * randn(), randn() * mask, mask, randn() * mask)


class Net(nn.Module):
    """A module with a normalisation layer whose scale is adapted."""

    def __init__(self, normalization: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 4), normalization, nn.Tanh(), nn.Linear(4, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)


def image_norm() -> nn.Module:
    """Two channels of 2 x 2 pixels, each normalised by itself."""
    norm = nn.InstanceNorm2d(2, affine=True)
    return nn.Sequential(nn.Linear(4, 8), nn.Unflatten(1, (2, 2, 2)), norm, nn.Flatten(), nn.Linear(8, 4))


MODELS = {
    "mlp_tanh": lambda: mlp((2, 4, 2), "tanh"),
    "mlp_relu": lambda: mlp((2, 4, 4, 2), "relu"),
    "module_layer_norm": lambda: from_module(Net(nn.LayerNorm(4))),
    "module_batch_norm": lambda: from_module(Net(nn.BatchNorm1d(4, track_running_stats=False))),
    "module_instance_norm": lambda: from_module(Net(image_norm())),
}


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> Model:
    torch.manual_seed(0)  # torch.nn.Module initialises itself from the global generator
    return MODELS[request.param]()


@pytest.fixture(params=RULES.names)
def rule_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[name for name in RULES.names if issubclass(RULES.find(name), GradientRule)])
def gradient_rule_name(request: pytest.FixtureRequest) -> str:
    """Of the rules that adapt every parameter but a few."""
    return request.param


@pytest.fixture(params=["tanh", "relu"])
def policy(request: pytest.FixtureRequest) -> Model:
    return gaussian_mlp(2, 2, hidden_sizes=(8, 8), activation=request.param, initial_std=0.7)


def policy_objective(
    policy: Model,
    theta: Params,
    *,
    inner_steps: int = 1,
    held: bool = False,
    repeat: int = 1,
    dtype: torch.dtype = torch.float64,
    outer_loss: OuterPolicyLoss = SURROGATE,
) -> MetaObjective:
    """MAML-RL's objective on random data; `held`: of first order; `repeat` writes every timestep so many times."""
    learner = Learner(
        first_order(sgd(0.1)) if held else sgd(0.1),
        lambda params, batch: policy_gradient(policy.apply(params, batch.observations), batch),
        lambda params, batch: policy.apply(params, batch.observations),
    )

    def data(seed: int) -> PolicyBatch:
        return PolicyBatch(*(field.repeat_interleave(repeat, dim=1).to(dtype) for field in policy_data(seed)))

    support = [data(seed) for seed in range(inner_steps)]
    return MetaObjective(theta, learner, functions_of(outer_loss, learner), support, data(9))


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets) ** 2).mean()


def learner_of(model: Model, rule: InnerRule) -> Learner:
    """Mean squared errors in the inner steps."""
    return Learner(
        rule,
        lambda params, batch: squared(model.apply(params, batch.inputs), batch.targets),
        lambda params, batch: model.apply(params, batch.inputs),
    )


REGRESSION = TaskFunctions(
    outer_loss=lambda adapted: squared(adapted.outputs, adapted.query.targets),
    divergence=lambda old, new, batch: squared(new, old),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "maml"
    result = run("train", "navigation", *TOY, "--run-dir", run_dir)
    assert result.returncode == 0, result.stderr
    assert f"tensorboard --logdir {run_dir}" in result.stderr
    return run_dir


@pytest.fixture(scope="module")
def evaluated(trained: Path) -> Path:
    """Evaluated without a figure for TensorBoard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*NO_FIGURE)
        result = run("evaluate", trained)
    assert result.returncode == 0, result.stderr
    assert "95 % over tasks" in result.stdout
    return trained

"""Data of one's own that trained in silence on something else, or ended in a traceback of ours."""

import contextlib
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from conftest import sgd
from numpy.typing import NDArray

import metarl
from metarl.engine.model import mlp
from metarl.engine.params import Params
from metarl.problem import Evaluation
from metarl.problems.supervised import Supervised
from metarl.supervised.datasets import DATASETS
from metarl.supervised.few_shot import few_shot_from_arrays
from metarl.supervised.networks.dense import Dense
from metarl.supervised.problem import ExampleSettings, MetaSupervised
from metarl.supervised.regression import function_regression
from metarl.supervised.tasks import Examples, KindName, TaskDistribution

SIZES = ExampleSettings(tasks=3, shots=2, queries=2, evaluation_queries=2, log_every=1)


def lines(kind: KindName = "regression", outputs: int = 1, **changes: Any) -> MetaSupervised:
    """Fitting y = a x, or telling two classes apart, after a change of `tasks`, `inputs` or `targets`."""

    def same(values: Any) -> Any:
        return values

    alter = {"tasks": same, "inputs": same, "targets": same} | changes

    def sample_tasks(rng: np.random.Generator, n: int, split: str) -> Any:
        return alter["tasks"](1 + rng.random((n, 1)))

    def examples(tasks: NDArray[np.float64], rng: np.random.Generator, shots: int, queries: int) -> Any:
        numbers = 2 * (shots + queries) if kind == "classification" else shots + queries
        x = torch.from_numpy(rng.random((len(tasks), numbers, 1))).float()
        if kind == "classification":
            y = torch.tensor([0, 1] * (shots + queries)).expand(len(tasks), -1)
        else:
            y = (x * torch.from_numpy(tasks).float()[:, None]).expand(-1, -1, outputs)
        first = 2 * shots if kind == "classification" else shots
        return tuple(
            Examples(alter["inputs"](x[:, part]), alter["targets"](y[:, part]))
            for part in (slice(0, first), slice(first, None))
        )

    distribution = TaskDistribution(sample_tasks, examples, str)
    model = mlp((1, 4, 2 if kind == "classification" else outputs), "tanh")
    return MetaSupervised(distribution, model, kind, sgd(0.1), inner_steps=1, settings=SIZES, seed=1)


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def collected(problem: MetaSupervised) -> Params:
    theta = problem.initial_parameters(0)
    objective, _ = problem.collect(theta, 0)
    return objective.loss_and_gradient(theta)[1]


def evaluated(problem: MetaSupervised) -> Evaluation:
    return metarl.evaluate(problem, problem.initial_parameters(0), rule=sgd(0.1), tasks=3)


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": lambda x: x.double()},
        {"targets": lambda y: y.double()},
        {"inputs": lambda x: x.clone().requires_grad_()},
        {"inputs": lambda x: x.numpy()},
        {"inputs": lambda x: x.numpy()[::-1].copy()[::-1]},
        {"inputs": lambda x: read_only(x.numpy())},
        {"inputs": lambda x: x.numpy().astype(">f4")},
        {"tasks": lambda rows: rows.tolist()},
        {"tasks": np.float64},
    ],
)
def test_any_real_numbers_serve(changes: dict[str, Any]) -> None:
    """Double precision and arrays of NumPy were a traceback of torch."""
    expected = collected(lines())
    found = collected(lines(**changes))
    assert all(torch.equal(found[name], leaf) for name, leaf in expected.items())


def test_parameters_in_double_precision_see_examples_in_double_precision() -> None:
    plain = collected(lines())
    torch.set_default_dtype(torch.float64)
    try:
        found = collected(lines())
    finally:
        torch.set_default_dtype(torch.float32)
    assert {leaf.dtype for leaf in found.values()} == {torch.float64}
    assert found.keys() == plain.keys()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"targets": lambda y: y[..., 0]},
            r"targets must have the shape of the network's outputs, \[2, 1\].*got \[2\]",
        ),
        ({"outputs": 3, "targets": lambda y: y[..., :1]}, r"outputs, \[2, 3\] for a task; got \[2, 1\]"),
        ({"inputs": lambda x: x * torch.nan}, "support examples must be finite numbers; got NaN or infinity"),
        ({"targets": lambda y: y + torch.rand(1)}, "support examples must be the same for the same generator"),
        ({"tasks": lambda rows: rows + np.random.random()}, "tasks must be the same for the same generator"),
        ({"tasks": lambda rows: rows[1:]}, r"n tasks as rows of finite numbers.*asked for 3 it drew float64 \[2, 1\]"),
        ({"tasks": lambda rows: rows[:, 0]}, r"asked for 3 it drew float64 \[3\]"),
        ({"tasks": lambda rows: rows * np.inf}, "rows of finite numbers"),
        ({"inputs": lambda x: x[:, :1], "targets": lambda y: y[:, :1]}, r"inputs must have the shape \[3, 2, ...\]"),
        ({"inputs": lambda x: x > 0.5}, "inputs must be of a floating dtype, such as float32; got torch.bool"),
        ({"inputs": lambda x: x * 1j}, "support inputs must be a tensor of real numbers; got torch.complex64"),
        ({"inputs": lambda x: x.tolist()}, "support inputs must be a tensor of real numbers; got list"),
        (
            {"kind": "classification", "inputs": lambda x: x[:, 0, 0]},
            r"shape \[3, N, ...\], 3 tasks .*; got \[3\]",
        ),
        ({"kind": "classification", "inputs": lambda x: x.tolist()}, "must be a tensor of real numbers; got list"),
        ({"kind": "classification", "targets": lambda y: y + 1}, "labels must be 0 to 1, .*; there are 1 to 2"),
        ({"kind": "classification", "targets": lambda y: y.where(y > 0, -100)}, "there are -100 to 1"),
        ({"kind": "classification", "targets": lambda y: y.float()}, "support targets must be labels, whole numbers"),
    ],
)
def test_what_trained_on_something_else(changes: dict[str, Any], words: str) -> None:
    """Targets were broadcast, examples of the label -100 left out, tasks too few: all without a word."""
    with pytest.raises(ValueError, match=words):
        collected(lines(**changes))
    if "finite numbers; got" not in words and "same for" not in words:
        with pytest.raises(ValueError, match=words):
            evaluated(lines(**changes))


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool])
def test_labels_are_whole_numbers_of_any_type(dtype: torch.dtype) -> None:
    expected = evaluated(lines("classification"))
    found = evaluated(lines("classification", targets=lambda y: y.to(dtype)))
    np.testing.assert_array_equal(found.scores["accuracy"], expected.scores["accuracy"])


def nothing(x: NDArray[Any], a: NDArray[Any]) -> None:
    return None


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x, a: (a * x)[..., 0], r"of its shape \[1, 2, 1\]; got float64 \[1, 2\]"),
        (lambda x, a: np.concatenate([x, x], -1), r"got float64 \[1, 2, 2\]"),
        (lambda x, a: 1j * a * x, "function must make an array of real numbers of x.*got complex128"),
        (lambda x, a: 1.0, r"got float64 \[\]: take NumPy's functions"),
        (nothing, "got object"),
    ],
)
def test_functions_of_one_variable_make_a_number_of_each(function: Any, words: str) -> None:
    made = function_regression(function, {"a": (1.0, 2.0)}, (0.0, 1.0))
    with pytest.raises(ValueError, match=words):
        made.distribution.examples(np.ones((1, 1)), np.random.default_rng(0), 1, 1)


def test_a_function_may_change_its_argument() -> None:
    """The inputs that the network saw were the changed ones."""

    def doubled(x: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64]:
        x *= 2
        return x

    made = function_regression(doubled, {"a": (1.0, 2.0)}, (0.0, 1.0))
    support, _ = made.distribution.examples(np.ones((1, 1)), np.random.default_rng(0), 3, 1)
    torch.testing.assert_close(support.targets, 2 * support.inputs)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ([(1, 2)], "parameters must be ranges by name"),
        ({"a": 3}, "the range of a must be two finite numbers, the smaller first; got 3"),
        ({"a": (1, 2, 3)}, "got 1, 2, 3"),
        ({"a": "12"}, "got '12'"),
    ],
)
def test_ranges_that_are_none(parameters: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        function_regression(lambda x, a: x, parameters, (0.0, 1.0))


IMAGES = np.random.default_rng(0).integers(0, 256, (48, 3, 3, 1), np.uint8)
LABELS = np.arange(48) % 12


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.where(LABELS == 3, np.nan, LABELS)}, "labels must be whole numbers, or words; got nan"),
        ({"labels": LABELS + 0.5}, "got 0.5"),
        ({"labels": [None, *LABELS[1:]]}, "all whole numbers, or all words, without None"),
        ({"labels": np.array([1.5, *LABELS[1:]], object)}, "all whole numbers, or all words"),
        ({"labels": np.array([True, *LABELS[1:]], object)}, "all whole numbers, or all words"),
        ({"labels": ["a", *LABELS[1:].tolist()]}, "all whole numbers, or all words"),
        ({"images": IMAGES * 1e300}, r"images must be finite numbers, also in float32; got 2.55e\+302"),
        ({"images": IMAGES.astype(int)}, "got int64: of pixels from 0 to 255 make uint8"),
        ({"ways": 2.0}, "ways must be a whole number; got 2.0"),
        ({"ways": "2"}, "ways must be a whole number; got '2'"),
        ({"seed": None}, "seed must be a whole number; got None"),
        ({"shares": None}, "shares of the classes must be three positive numbers whose sum is 1; got None"),
        ({"splits": [[0, 1], [2, 3], [4, 5]]}, "splits must be lists of classes by name: .*; got list"),
        ({"splits": {"train": 3}}, "splits must be lists of classes by name; train is 3"),
        ({"rotate": "no"}, "rotate must be True or False; got 'no'"),
        (
            {"images": torch.from_numpy(IMAGES).bfloat16()},
            "must be one array of numbers that NumPy has: .*BFloat16",
        ),
        ({"images": [np.zeros((i % 3, 4)) for i in range(48)]}, "images must be one array of numbers that NumPy has"),
        ({"images": np.ma.masked_array(IMAGES, IMAGES > 9)}, "images must not be masked"),
        ({"labels": np.ma.masked_array(LABELS, LABELS > 9)}, "labels must not be masked"),
    ],
)
def test_arrays_of_ones_own_that_are_no_data(changes: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"images": IMAGES, "labels": LABELS, "ways": 2} | changes
    with pytest.raises(ValueError, match=words):
        few_shot_from_arrays(arguments.pop("images"), arguments.pop("labels"), **arguments)


@pytest.mark.parametrize("kind", [str, int])
def test_labels_of_dtype_object(kind: Any) -> None:
    """Texts of pandas are such."""
    labels = LABELS.astype(kind)
    plain, found = (few_shot_from_arrays(IMAGES, given, ways=2) for given in (labels, labels.astype(object)))
    assert found.signature() == plain.signature()


def test_tensors_with_gradients_and_splits_that_come_one_by_one() -> None:
    splits: Any = {"train": range(4), "validation": range(4, 8), "test": range(8, 12)}
    images = torch.from_numpy(IMAGES / 255)
    plain = few_shot_from_arrays(images, LABELS, ways=2, splits=splits)
    one_by_one: Any = {split: iter(labels) for split, labels in splits.items()}
    given = few_shot_from_arrays(images.requires_grad_(), torch.from_numpy(LABELS), ways=2, splits=one_by_one)
    assert given.signature() == plain.signature()


def test_pixels_that_are_not_scaled_are_told() -> None:
    """Numbers up to 255 as float32 went into the network as they were, masks of 0 and 1 as uint8 nearly as 0."""
    with pytest.warns(
        UserWarning, match="images of uint8 are divided by 255, and these reach 1, which is nearly black"
    ):
        few_shot_from_arrays(np.uint8(IMAGES > 99), LABELS, ways=2)
    with pytest.warns(UserWarning, match="images of float32 stay as they are, and these reach 255"):
        few_shot_from_arrays(IMAGES.astype(np.float32), LABELS, ways=2)
    few_shot_from_arrays((IMAGES / 60.0).astype(np.float32) - 2, LABELS, ways=2)  # normalised
    few_shot_from_arrays(IMAGES.reshape(48, 9).astype(np.float32), LABELS, ways=2)  # features of any units


def test_a_training_tells_what_check_dataset_says_of_ones_own_dataset(tmp_path: Any) -> None:
    (tmp_path / "shared_classes.py").write_text(
        "import numpy as np\n"
        "from metarl.supervised.few_shot import few_shot_from_arrays\n\n\n"
        "def shared():\n"
        "    made = few_shot_from_arrays(np.random.default_rng(0).random((60, 2, 2)), np.arange(60) % 12, ways=2)\n"
        "    plain = made.distribution\n"
        "    mixed = lambda rng, n, split: plain.sample_tasks(rng, n, 'train')\n"
        "    return made._replace(distribution=plain._replace(sample_tasks=mixed))\n"
    )
    dataset = DATASETS.find(f"{tmp_path / 'shared_classes.py'}:shared")()
    with pytest.warns(UserWarning, match="does not keep its contract.*an example of train is one of validation too"):
        recorded = Supervised(dataset=dataset, network=Dense()).recorded()
    assert dataclasses.replace(recorded, examples_in_training=None) == Supervised(dataset=dataset, network=Dense())


PAIRS = """
import numpy as np
import torch
from metarl.supervised.tasks import Examples, SupervisedTasks, TaskDistribution


def examples(tasks, rng, shots, queries):
    if {refuses}:
        raise IndexError("there are two examples")
    x = torch.from_numpy(tasks[:, [0, 1]][:, :, None]).float()[:, : shots + queries]
    pairs = Examples(x, 2 * x)
    return tuple(Examples(*(leaf[:, part] for leaf in pairs)) for part in (slice(0, shots), slice(shots, None)))


def pairs():
    functions = TaskDistribution(lambda rng, n, split: rng.random((n, 2)), examples, str)
    return SupervisedTasks(functions, (1,), 1, "regression", False)
"""


@pytest.mark.parametrize(("name", "refuses"), [("two_each", "shots + queries > 2"), ("no_seven", "len(tasks) == 7")])
def test_the_check_at_the_start_of_a_training_ends_none(tmp_path: Any, name: str, refuses: str) -> None:
    """It asked for more examples than the run, and passed on the IndexError of a dataset that has just enough."""
    (tmp_path / f"{name}.py").write_text(PAIRS.format(refuses=refuses))
    chosen = Supervised(dataset=DATASETS.find(f"{tmp_path / name}.py:pairs")(), network=Dense())
    told = pytest.warns(UserWarning, match="keep its contract.*: IndexError: there are two examples")
    with told if name == "no_seven" else contextlib.nullcontext():
        assert chosen.recorded().examples_in_training is not None
    if name == "two_each":
        with pytest.warns(UserWarning, match="IndexError: there are two examples"):
            dataclasses.replace(chosen, queries=2).recorded()

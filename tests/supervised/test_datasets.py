"""Every dataset keeps the contract, and so may a user's own."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from metarl.parts import options
from metarl.supervised.conformance import check_dataset
from metarl.supervised.datasets import DATASETS, glyphs
from metarl.supervised.datasets.glyphs import DRAWINGS, Glyphs, draw
from metarl.supervised.datasets.sinusoid import Sinusoid
from metarl.supervised.few_shot import few_shot_from_arrays
from metarl.supervised.regression import function_regression
from metarl.supervised.tasks import Examples, SupervisedTasks
from metarl.tasks import SPLITS

EXAMPLES = Path(__file__).parents[2] / "examples"
RNG = np.random.default_rng


def image_folders(place: Path, splits: tuple[str, ...] = ("train", "val", "test"), classes: int = 3) -> Path:
    """Random pictures, four of each class."""
    rng = RNG(0)
    for split in splits:
        for c in range(classes):
            folder = place / split / f"{split or 'class'}{c}"
            folder.mkdir(parents=True)
            for i in range(4):
                Image.fromarray(rng.integers(0, 256, (9, 8, 3), np.uint8)).save(folder / f"{i}.png")
    return place


def made_images(name: str, place: Path) -> dict[str, Any]:
    """Options that point at made images, of a dataset on the disk."""
    if name == "omniglot":
        images = (RNG(0).random((1623, 20, 28, 28)) < 0.1).astype(np.uint8)
        names = np.array(["a"] * 1623)
        np.savez(place / "characters.npz", images=images, alphabet=names, character=names)
        return {"data_dir": str(place / "characters.npz")}
    return {"data_dir": str(image_folders(place)), "ways": 3}


@pytest.mark.parametrize("name", DATASETS.names)
def test_every_dataset_keeps_the_contract(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "CLASSES", {"train": 20, "validation": 10, "test": 10})  # a page draws all of them
    part = DATASETS.find(name)
    chosen = made_images(name, tmp_path) if "data_dir" in {option.name for option in options(part)} else {}
    made = check_dataset(cast(Any, part)(**chosen))
    assert made.shared_targets == (made.kind == "regression")


@pytest.mark.parametrize("name", ["lines", "fading"])
def test_the_example_keeps_the_contract(name: str) -> None:
    made = check_dataset(DATASETS.find(f"{EXAMPLES / 'own_dataset.py'}:{name}")())
    assert (made.kind, made.input_shape, made.outputs) == ("regression", (1,), 1)


def test_the_examples_options_have_an_effect() -> None:
    for name, option in (("lines", {"steepest": 9.0}), ("fading", {"fade": 2.0})):
        part = cast(Any, DATASETS.find(f"{EXAMPLES / 'own_dataset.py'}:{name}"))
        one, other = (
            made.distribution.examples(made.distribution.sample_tasks(RNG(0), 3, "train"), RNG(1), 2, 2)[0].targets
            for made in (part().build(), part(**option).build())
        )
        assert not torch.equal(one, other)


def test_lines_are_lines() -> None:
    made = cast(Any, DATASETS.find(f"{EXAMPLES / 'own_dataset.py'}:lines"))().build()
    tasks = made.distribution.sample_tasks(RNG(0), 5, "test")
    support, _ = made.distribution.examples(tasks, RNG(1), 4, 1)
    expected = tasks[:, None, :1] * support.inputs.double().numpy() + tasks[:, None, 1:]
    np.testing.assert_allclose(support.targets, expected, rtol=1e-5, atol=1e-5)
    assert made.distribution.describe(np.array([1.0, -0.5])) == "slope 1.00, offset -0.50"


class Broken:
    """A dataset whose tasks or examples are replaced."""

    def __init__(self, made: SupervisedTasks, **functions: Any) -> None:
        self._made = made._replace(distribution=made.distribution._replace(**functions))

    def build(self) -> SupervisedTasks:
        return self._made


def _examples(change: Any) -> Any:
    """The sinusoid's examples after a change of support and query."""

    def examples(tasks: Any, rng: Any, shots: int, queries: int) -> tuple[Examples, Examples]:
        return change(*SINUSOID.distribution.examples(tasks, rng, shots, queries))

    return examples


SINUSOID = Sinusoid().build()
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "tasks drawn one by one": (
        {"sample_tasks": lambda rng, n, split: np.stack([rng.random(n), rng.random(n)], 1)},
        "task i must not depend on how many are drawn",
    ),
    "tasks of a global generator": (
        {"sample_tasks": lambda rng, n, split: np.random.random((n, 2))},
        "sample_tasks must give the same for the same generator",
    ),
    "float32 tasks": ({"sample_tasks": lambda rng, n, split: rng.random((n, 2)).astype(np.float32)}, "float64"),
    "tasks all the same": ({"sample_tasks": lambda rng, n, split: np.ones((n, 2))}, "tasks must differ"),
    "tasks of a generator of its own": (
        {"sample_tasks": lambda rng, n, split: RNG(0).random((n, 2))},
        "sample_tasks must give others for another generator",
    ),
    "tasks not finite": ({"sample_tasks": lambda rng, n, split: rng.random((n, 2)) / 0.0}, "must be finite"),
    "no words": ({"describe": lambda task: ""}, "describe must give the task in words"),
    "float64 examples": (
        {"examples": _examples(lambda s, q: (Examples(s.inputs.double(), s.targets), q))},
        "support inputs must be float32",
    ),
    "flat targets": (
        {"examples": _examples(lambda s, q: (s, Examples(q.inputs, q.targets[..., 0])))},
        "query targets must be torch.float32",
    ),
    "query among the support": (
        {"examples": _examples(lambda s, q: (s, Examples(s.inputs.expand_as(q.inputs), q.targets)))},
        "support and query of a task must be different examples",
    ),
    "not finite": ({"examples": _examples(lambda s, q: (s, Examples(q.inputs, q.targets / 0)))}, "must be finite"),
    "examples of all tasks at once": (
        {
            "examples": lambda tasks, rng, shots, queries: tuple(
                Examples(*(torch.from_numpy(rng.random((n, len(tasks), 1))).float().movedim(0, 1) for _ in range(2)))
                for n in (shots, queries)
            )
        },
        "examples of task i must not depend on how many tasks there are",
    ),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_regression_are_named(fault: str) -> None:
    functions, words = FAULTS[fault]
    with pytest.raises(ValueError, match=words):
        check_dataset(Broken(SINUSOID, **functions))


def test_tasks_that_are_scored_may_be_fixed_ones() -> None:
    def sample(rng: np.random.Generator, n: int, split: str) -> Any:
        return (rng if split == "train" else RNG(0)).random((n, 2))

    check_dataset(Broken(SINUSOID, sample_tasks=sample))


def arrays(splits: Any = None, **options_: Any) -> SupervisedTasks:
    images = RNG(0).integers(0, 256, (60, 5, 5, 1), np.uint8)
    return few_shot_from_arrays(images, np.arange(60) % 12, splits=splits, **{"ways": 2, **options_})


def test_faults_of_a_classification_are_named() -> None:
    made = arrays()
    check_dataset(Broken(made))
    train = made.distribution.sample_tasks
    with pytest.raises(ValueError, match="an example of train is one of validation too: splits must share no classes"):
        check_dataset(Broken(made, sample_tasks=lambda rng, n, split: train(rng, n, "train")))

    def mislabelled(*arguments: Any) -> Any:
        support, query = made.distribution.examples(*arguments)
        return support, Examples(query.inputs, torch.zeros_like(query.targets))

    with pytest.raises(ValueError, match=r"labelled 0 to 1; labels are \[0, 0, 0, 0\]"):
        check_dataset(Broken(made, examples=mislabelled))
    with pytest.raises(ValueError, match="build must give SupervisedTasks; got TaskDistribution"):
        check_dataset(type("Other", (), {"build": lambda self: made.distribution})())


def test_arrays_become_tasks_of_their_labels() -> None:
    """Every image's first pixel is its label, whatever their order."""
    labels = RNG(1).permutation(np.repeat(np.array(["a", "b", "c", "d", "e", "f"]), 4))
    images = np.zeros((24, 3, 3), np.uint8)
    images[:, 0, 0] = [ord(label) for label in labels]
    images[:, 1, 1] = np.arange(24)
    splits = {"train": ["b", "a"], "validation": ["f", "c"], "test": ["d", "e"]}
    made = few_shot_from_arrays(torch.from_numpy(images), labels, ways=2, splits=cast(Any, splits))
    assert (made.input_shape, made.examples_available) == ((3, 3, 1), 4)
    for split in SPLITS:
        tasks = made.distribution.sample_tasks(RNG(0), 9, split)
        support, query = made.distribution.examples(tasks, RNG(1), 1, 3)
        for one in (support, query):
            shown = (255 * one.inputs[:, :, 0, 0, 0]).round().int()
            assert set(shown.ravel().tolist()) == {ord(label) for label in splits[split]}
            for task, row in zip(one.targets, shown, strict=True):
                assert all(len(set(row[task == label].tolist())) == 1 for label in (0, 1))


def test_arrays_are_scaled_by_their_type() -> None:
    for kind, white in ((np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0), (np.float64, 1.0), (bool, True)):
        images = RNG(0).random((24, 2, 2)) < 0.5
        made = few_shot_from_arrays(
            images.astype(kind) * kind(white), list(range(6)) * 4, ways=2, shares=(1 / 3, 1 / 3, 1 / 3)
        )
        support, _ = made.distribution.examples(made.distribution.sample_tasks(RNG(0), 4, "train"), RNG(0), 2, 2)
        assert set(support.inputs.unique().tolist()) == {0.0, 1.0}


def test_feature_vectors_and_rotations() -> None:
    vectors = few_shot_from_arrays(RNG(0).standard_normal((60, 7)), np.arange(60) % 12, ways=2)
    assert check_dataset(Broken(vectors)).input_shape == (7,)
    assert arrays().distribution.sample_tasks(RNG(0), 20, "train")[:, 2:].max() == 0
    assert arrays(rotate=True).distribution.sample_tasks(RNG(0), 20, "train")[:, 2:].max() == 3


def test_shares_and_seed_choose_the_splits() -> None:
    def classes(**chosen: Any) -> list[int]:
        made = arrays(**chosen)
        return sorted(set(made.distribution.sample_tasks(RNG(0), 40, "test")[:, :2].ravel().astype(int)))

    assert len(classes(shares=(0.25, 0.25, 0.5))) == 6
    assert len(classes()) == 2
    assert classes(seed=2) == classes(seed=2) != classes(seed=1)


@pytest.mark.parametrize(
    ("images", "labels", "chosen", "words"),
    [
        (np.zeros((6, 2, 2, 1), np.int64), [0] * 6, {}, "images must be of one of the types .*; got int64"),
        (np.zeros(6, np.uint8), [0] * 6, {}, r"images must have a shape .*; got \[6\]"),
        (np.zeros((6, 3, 28, 28), np.uint8), [0] * 6, {}, r"channels last, .*; got .*: use movedim"),
        (np.full((6, 2), np.nan), [0] * 6, {}, "images must be finite"),
        (np.zeros((6, 2)), [0] * 5, {}, r"labels must have one entry for each of the 6 images; got \[5\]"),
        (np.zeros((6, 2)), [0] * 6, {"rotate": True}, r"rotate needs square images; got inputs of shape \[2\]"),
        (np.zeros((6, 2)), range(6), {"shares": (0.5, 0.5, 0.5)}, "three positive numbers whose sum is 1; got"),
        (
            np.zeros((6, 2)),
            range(6),
            {"splits": {"train": [0, 1]}},
            "splits must be train, validation, test; got train",
        ),
        (
            np.zeros((6, 2)),
            range(6),
            {"splits": {"train": [0, 1], "validation": [2, 1], "test": [4, 5]}},
            "class 1 is in two splits, train and validation",
        ),
        (
            np.zeros((6, 2)),
            range(6),
            {"splits": {"train": [0, 1], "validation": [2, 9], "test": [4, 5]}},
            "no image has the label 9, which is named for validation",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_named(images: Any, labels: Any, chosen: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        few_shot_from_arrays(images, labels, **{"ways": 2, **chosen})


def test_ranges_of_functions_are_checked() -> None:
    with pytest.raises(ValueError, match=r"the range of slope must be two finite numbers, the smaller first; got 2, 1"):
        function_regression(lambda x, slope: slope * x, {"slope": (2, 1)}, inputs=(0, 1))
    with pytest.raises(ValueError, match=r"the range of the input must be"):
        function_regression(lambda x, slope: slope * x, {"slope": (1, 2)}, inputs=(0, np.inf))
    with pytest.raises(ValueError, match="at least one parameter"):
        function_regression(lambda x: x, {}, inputs=(0, 1))


def test_oracles_need_vectors_and_shared_targets() -> None:
    with pytest.raises(ValueError, match=r"an oracle needs .*; got inputs of shape \[5, 5, 1\] and a classification"):
        arrays().with_task_in_inputs()


def test_glyphs_are_the_same_every_time_and_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearest neighbours in pixels do better than chance, and worse than perfectly: there is something to learn."""
    monkeypatch.setattr(glyphs, "CLASSES", glyphs.CLASSES | {"train": 5, "validation": 5})  # test tasks alone are drawn
    images = draw(12, 1.0)
    assert images.shape == (12 * DRAWINGS, 28, 28, 1)
    np.testing.assert_array_equal(draw(7, 1.0), images[: 7 * DRAWINGS])
    assert 0.03 < images.mean() / 255 < 0.4
    accuracies = [nearest_neighbour_accuracy(Glyphs(jitter=jitter).build()) for jitter in (0.1, 1.0, 2.0)]
    assert accuracies[0] > 0.95
    assert 0.45 < accuracies[1] < 0.9
    assert 0.25 < accuracies[2] < accuracies[1]


def nearest_neighbour_accuracy(made: SupervisedTasks) -> float:
    """Of 5-way 1-shot test tasks, by the distance of pixels; chance is 0.2."""
    tasks = made.distribution.sample_tasks(RNG(0), 200, "test")
    support, query = made.distribution.examples(tasks, RNG(1), 1, 1)
    distances = torch.cdist(query.inputs.flatten(2), support.inputs.flatten(2))
    return (distances.argmin(-1) == query.targets).float().mean().item()

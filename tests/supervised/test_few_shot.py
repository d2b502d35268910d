import numpy as np
import pytest
import torch

from metarl.supervised.few_shot import ImageClasses, few_shot

CLASSES, SIZE = 12, 4


def numbered(counts: list[int] | None = None) -> ImageClasses:
    """Every image's corner pixel is its class and the one to the right its number in it: rotations can be told."""
    counts = counts or [6] * CLASSES
    images = np.zeros((sum(counts), SIZE, SIZE, 1), np.uint8)
    images[:, 0, 0, 0] = 100 + np.repeat(np.arange(CLASSES), counts)
    images[:, 0, 1, 0] = np.concatenate([np.arange(count) + 1 for count in counts])
    splits = {"train": np.arange(6), "validation": np.arange(6, 9), "test": np.arange(9, 12)}
    return ImageClasses(images, np.array(counts), splits, white=1.0)  # pyright: ignore[reportArgumentType]


def upright(image: np.ndarray) -> tuple[int, int, int]:
    """Class, number in it, and turns of one image [H, W, 1]."""
    for turns in range(4):
        back = np.rot90(image[..., 0], -turns)
        if back[0, 0] >= 100 and (back[0, 1] > 0 or back.sum() == back[0, 0]):
            return int(back[0, 0]) - 100, int(back[0, 1]), turns
    raise AssertionError("no such image")


def test_examples_are_the_tasks_classes_rotated_as_it_says() -> None:
    distribution = few_shot(numbered(), ways=3, rotate=True).distribution
    tasks = distribution.sample_tasks(np.random.default_rng(0), 20, "train")
    support, query = distribution.examples(tasks, np.random.default_rng(1), 2, 3)
    assert support.inputs.shape == (20, 6, SIZE, SIZE, 1)
    assert query.inputs.shape == (20, 9, SIZE, SIZE, 1)
    for i, task in enumerate(tasks.astype(int)):
        assert len(set(task[:3])) == 3
        seen = set()
        for one in (support, query):
            for image, label in zip(one.inputs[i].numpy(), one.targets[i].tolist(), strict=True):
                kind, number, turns = upright(image)
                assert (kind, turns) == (task[label], task[3 + label])
                seen.add((kind, number))
        assert len(seen) == 15  # support and query share no image
    assert set(tasks[:, 3:].ravel()) == {0, 1, 2, 3}
    assert query.targets[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_splits_keep_to_their_classes_and_mini_imagenet_is_upright() -> None:
    distribution = few_shot(numbered(), ways=3, rotate=False).distribution
    for split, classes in numbered().splits.items():
        tasks = distribution.sample_tasks(np.random.default_rng(0), 50, split)
        assert set(tasks[:, :3].ravel()) == set(classes)
        assert not tasks[:, 3:].any()


def test_every_class_is_as_likely_in_every_place() -> None:
    tasks = few_shot(numbered(), ways=3, rotate=True).distribution.sample_tasks(np.random.default_rng(0), 6000, "train")
    for column in range(3):
        shares = np.bincount(tasks[:, column].astype(int), minlength=6) / 6000
        np.testing.assert_allclose(shares, 1 / 6, atol=0.02)


def test_task_i_does_not_depend_on_how_many_there_are() -> None:
    distribution = few_shot(numbered(), ways=3, rotate=True).distribution
    few, many = (distribution.sample_tasks(np.random.default_rng(0), n, "train") for n in (2, 7))
    np.testing.assert_array_equal(few, many[:2])
    some, all_ = (distribution.examples(tasks, np.random.default_rng(1), 1, 2) for tasks in (few, many))
    torch.testing.assert_close(some[1].inputs, all_[1].inputs[:2], rtol=0, atol=0)


def test_classes_may_have_different_numbers_of_images() -> None:
    counts = [3 + i for i in range(CLASSES)]
    distribution = few_shot(numbered(counts), ways=2, rotate=False).distribution
    tasks = distribution.sample_tasks(np.random.default_rng(0), 30, "train")
    _, query = distribution.examples(tasks, np.random.default_rng(1), 1, 2)
    for i, task in enumerate(tasks.astype(int)):
        for image, label in zip(query.inputs[i].numpy(), query.targets[i].tolist(), strict=True):
            kind, number, _ = upright(image)
            assert kind == task[label]
            assert 1 <= number <= counts[kind]
    with pytest.raises(ValueError, match="at most 3, the examples of the smallest class; got 4"):
        distribution.examples(tasks, np.random.default_rng(1), 1, 3)


@pytest.mark.parametrize("ways", [1, 4])
def test_ways_must_fit_every_split(ways: int) -> None:
    with pytest.raises(ValueError, match=f"ways must be from 2 to [36], the classes for .*; got {ways}"):
        few_shot(numbered(), ways=ways, rotate=False)

import csv
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metarl.supervised.datasets.mini_imagenet import MiniImagenet, load
from metarl.supervised.few_shot import few_shot
from metarl.supervised.pickles import read_pickle

COUNTS = {"train": 3, "val": 2, "test": 2}  # classes
IMAGES_EACH = 4


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def color(split: str, c: int, i: int) -> tuple[int, int, int]:
    return (60 * list(COUNTS).index(split), 50 * c, 40 * i)


def image(split: str, c: int, i: int, size: tuple[int, int] = (84, 84)) -> Image.Image:
    return Image.new("RGB", size, color(split, c, i))


def folders(place: Path) -> Path:
    for split, classes in COUNTS.items():
        for c in range(classes):
            (place / split / f"{split}{c}").mkdir(parents=True)
            for i in range(IMAGES_EACH):
                image(split, c, i, (100, 90)).save(place / split / f"{split}{c}" / f"{i}.png")
    return place


def tables(place: Path) -> Path:
    (place / "images").mkdir(parents=True)
    for split, classes in COUNTS.items():
        with (place / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["filename", "label"])
            for c in range(classes):
                for i in range(IMAGES_EACH):
                    name = f"{split}{c}{i}.jpg"
                    image(split, c, i).save(place / "images" / name, quality=100)
                    writer.writerow([name, f"{split}{c}"])
    return place


def pickles(place: Path, protocol: int = 4) -> Path:
    place.mkdir(parents=True)
    for split, classes in COUNTS.items():
        pixels = np.stack([np.asarray(image(split, c, i)) for c in range(classes) for i in range(IMAGES_EACH)])
        indices = {f"{split}{c}": list(range(c * IMAGES_EACH, (c + 1) * IMAGES_EACH)) for c in range(classes)}
        content = {"image_data": pixels, "class_dict": indices}
        (place / f"mini-imagenet-cache-{split}.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    return place


def category_splits(place: Path) -> Path:
    """As another group prepared it: numbers for labels, which begin anew in each split."""
    place.mkdir(parents=True)
    for split, classes in COUNTS.items():
        pixels = np.stack([np.asarray(image(split, c, i)) for c in range(classes) for i in range(IMAGES_EACH)])
        content = {"data": pixels, "labels": np.repeat(np.arange(classes), IMAGES_EACH).tolist()}
        name = "train_phase_train" if split == "train" else split
        (place / f"miniImageNet_category_split_{name}.pickle").write_bytes(pickle.dumps(content))
    return place


def split_tables(place: Path) -> Path:
    tables(place)
    (place / "split").mkdir()
    for split in COUNTS:
        (place / f"{split}.csv").rename(place / "split" / f"{split}.csv")
    return place


LAYOUTS = {
    "folders": folders,
    "tables": tables,
    "tables in a folder": split_tables,
    "category splits": category_splits,
    **{f"pickles {protocol}": lambda place, protocol=protocol: pickles(place, protocol) for protocol in range(2, 6)},
}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_every_layout_gives_the_same_images(tmp_path: Path, cache: Path, layout: str) -> None:
    place = LAYOUTS[layout](tmp_path / "data")
    before = sorted(place.rglob("*"))
    decoded, again = load(place, str(cache)), load(place, str(cache))
    assert len(list(cache.glob("*.pixels"))) == 1
    assert sorted(place.rglob("*")) == before  # nothing is written among the data
    for data in (decoded, again):
        assert data.counts.tolist() == [IMAGES_EACH] * 7
        assert {split: classes.tolist() for split, classes in data.splits.items()} == {
            "train": [0, 1, 2],
            "validation": [3, 4],
            "test": [5, 6],
        }
        expected = [color(split, c, i) for split, classes in COUNTS.items() for c in range(classes) for i in range(4)]
        np.testing.assert_allclose(data.images.mean((1, 2)), expected, atol=3)  # jpg is not exact
        assert data.images.shape == (28, 84, 84, 3)
    distribution = few_shot(load(place), ways=2, rotate=False).distribution
    support, _ = distribution.examples(
        distribution.sample_tasks(np.random.default_rng(0), 2, "test"), np.random.default_rng(1), 1, 2
    )
    assert support.inputs.shape == (2, 2, 84, 84, 3)
    assert 0.3 < float(support.inputs[..., 0].mean()) < 0.6  # 120 of 255: divided by the largest value


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("hostile-was-here"),))


def test_hostile_pickles_do_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = pickles(tmp_path / "data")
    (place / "mini-imagenet-cache-val.pkl").write_bytes(pickle.dumps({"image_data": Hostile(), "class_dict": {}}))
    with pytest.raises(ValueError, match=r"mini-imagenet-cache-val.pkl is damaged .*: it asks for pathlib"):
        load(place, str(cache))
    assert not Path("hostile-was-here").exists()
    assert not list(cache.glob("*"))


PIXELS = np.zeros((4, 84, 84, 3), np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        {"image_data": np.array([object()]), "class_dict": {"a": [0]}},  # pointers, if numpy were to believe it
        {"image_data": PIXELS.astype(np.float32), "class_dict": {"a": [0]}},
        {"image_data": PIXELS[..., 0], "class_dict": {"a": [0]}},
        {"image_data": PIXELS, "class_dict": {"a": [0, 9]}},
        {"image_data": PIXELS, "class_dict": {"a": [-1]}},
        {"image_data": PIXELS, "class_dict": {"a": [0, 1], "b": [1, 2]}},
        {"image_data": PIXELS, "class_dict": {"a": [[0, 1], [2, 3]]}},
        {"image_data": PIXELS, "class_dict": {"a": [[0, 1], 2]}},
        {"image_data": PIXELS, "class_dict": {"a": []}},
        {"image_data": PIXELS, "class_dict": {}},
        {"image_data": PIXELS, "class_dict": {b"a": [0]}},
        {"image_data": PIXELS},
        [1, 2],
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_with_something_else_are_named_and_leave_no_cache(
    tmp_path: Path, cache: Path, content: Any, protocol: int
) -> None:
    place = pickles(tmp_path / "data")
    (place / "mini-imagenet-cache-test.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(ValueError, match=r"mini-imagenet-cache-test.pkl is "):
        load(place, str(cache))
    assert not list(cache.glob("*"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x04Nr" + (2**24).to_bytes(4, "little") + b".", "LONG_BINPUT 16777216 where there can be 3"),
        (b"Nq\x04.", "BINPUT 4 where there can be 2"),
        (b"Np16777216\n.", "PUT 16777216 where there can be 2"),
        (b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"N.", "FRAME 1099511627776 where there can be 13"),
        (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"ab.", "BYTEARRAY8 1099511627776 where there can be 14"),
        (b"T\xff\xff\xff\xffab.", "BINSTRING 4294967295 where there can be 8"),
    ],
)
def test_no_room_is_made_for_what_no_file_can_hold(tmp_path: Path, content: bytes, words: str) -> None:
    """A few bytes had the unpickler fill 20 GB with room for objects."""
    path = tmp_path / "cache.pkl"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"cache.pkl is damaged or no pickle of integer arrays: {words}"):
            read_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "cache.pkl"
    content = {"a": np.arange(3), "long": "x" * 300, "b": [1, 2**40, [b"\xe9", "é\n", -1]]}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_pickle(path)
    assert read.pop("a").tolist() == [0, 1, 2]
    assert read == {"long": "x" * 300, "b": [1, 2**40, [b"\xe9", "é\n", -1]]}
    # How Python 2 writes the string of one byte.
    path.write_bytes(b"(lp1\nS'\\xe9'\np2\na.")
    assert read_pickle(path) == ["é"]


def test_damaged_pickles_are_refused_or_hold_only_other_numbers(tmp_path: Path) -> None:
    """Bits flipped, bytes lost: never anything but a ValueError or an array of integers."""
    content = {
        "image_data": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "class_dict": {"a": np.array([0]), "b": [1]},
    }
    rng, path, refused = np.random.default_rng(0), tmp_path / "cache.pkl", 0
    for protocol in (2, 4, 5):
        whole = pickle.dumps(content, protocol=protocol)
        for trial in range(400):
            damaged = bytearray(whole)
            for position in rng.integers(0, len(whole), rng.integers(1, 5)):
                damaged[position] ^= 1 << rng.integers(0, 8)
            path.write_bytes(damaged if trial % 4 else whole[: rng.integers(0, len(whole))])
            try:
                read_pickle(path)
            except ValueError as error:
                refused += 1
                assert "cache.pkl is damaged or no pickle" in str(error)
    assert refused > 300


def damage_image(place: Path) -> str:
    (place / "val" / "val1" / "2.png").write_bytes(b"no image")
    return r"val1/2.png is not an image that can be read"


def remove_split(place: Path) -> str:
    (place / "test").rename(place / "tset")
    return r"has neither test.csv nor test/ nor mini-imagenet-cache-test.pkl: it holds train, tset, val; expected "


def empty_split(place: Path) -> str:
    for one in (place / "val").iterdir():
        one.rename(place / one.name)
    return r"val names no classes"


def empty_class(place: Path) -> str:
    (place / "val" / "val9").mkdir()
    return "val9 has no images"


@pytest.mark.parametrize("damage", [damage_image, remove_split, empty_split, empty_class])
def test_damaged_folders_are_named_and_leave_no_cache(tmp_path: Path, cache: Path, damage: Any) -> None:
    place = folders(tmp_path / "data")
    words = damage(place)
    with pytest.raises(ValueError, match=words):
        load(place, str(cache))
    assert not list(cache.glob("*"))


def test_a_class_in_two_splits_is_refused(tmp_path: Path) -> None:
    place = folders(tmp_path)
    (place / "val" / "val1").rename(place / "val" / "train1")
    with pytest.raises(ValueError, match="class train1 is in two splits"):
        load(place)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"filename,label\nval00.jpg\n", "val.csv, line 2: filename or label is missing"),
        (b"label,filename\nn0\n", "val.csv, line 2: filename or label is missing"),
        (b"filename,label\nval\xe900.jpg,a\n", "val.csv is not a table of text"),
        (b'filename,label\n"val00.jpg"x,a\n', "val.csv is not a table of text"),
    ],
)
def test_damaged_tables_are_named(tmp_path: Path, text: bytes, words: str) -> None:
    place = tables(tmp_path)
    (place / "val.csv").write_bytes(text)
    with pytest.raises(ValueError, match=words):
        load(place)


def test_tables_must_have_their_columns_and_files(tmp_path: Path) -> None:
    place = tables(tmp_path)
    (place / "images" / "val11.jpg").unlink()
    with pytest.raises(ValueError, match=r"val.csv names val11.jpg, which is not in .*images"):
        load(place)
    (place / "train.csv").write_text("file,class\na,b\n")
    with pytest.raises(ValueError, match=r"train.csv must have the columns filename and label"):
        load(place)


def test_a_missing_folder_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere: MiniImagenet is expected there"):
        load(tmp_path / "nowhere")


def test_names_of_numbered_labels_are_taken(tmp_path: Path) -> None:
    place = category_splits(tmp_path / "data")
    path = place / "miniImageNet_category_split_test.pickle"
    content = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({**content, "label2catname": {0: "lynx", 1: "house"}}))
    assert list(load(place).names) == ["train 0", "train 1", "train 2", "validation 0", "validation 1", "lynx", "house"]
    path.write_bytes(pickle.dumps({**content, "labels": content["labels"][:-1]}))
    with pytest.raises(ValueError, match="a number for each of the 8 images"):
        load(place)


def test_an_empty_folder_and_a_foreign_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nor mini-imagenet-cache-train.pkl: it is empty; expected"):
        load(tmp_path)
    (tmp_path / "n01532829").mkdir()
    with pytest.raises(ValueError, match=r"nor mini-imagenet-cache-train.pkl: it holds n01532829; expected"):
        load(tmp_path)


def test_the_part_builds_upright_tasks(tmp_path: Path) -> None:
    made = MiniImagenet(data_dir=str(folders(tmp_path)), ways=2).build()
    assert (made.input_shape, made.outputs, made.examples_available) == ((84, 84, 3), 2, 4)
    assert not made.distribution.sample_tasks(np.random.default_rng(0), 9, "train")[:, 2:].any()
    with pytest.raises(ValueError, match=r"at most 4, the examples of the smallest class .train0.; got 5"):
        made.require_examples(1, 4)

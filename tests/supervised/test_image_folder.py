"""One's own images: what is read, how it is scaled, what is left out and said."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metarl.experiments.presets.configuration import preset_config
from metarl.problems.supervised import Supervised
from metarl.supervised.datasets.image_folder import ImageFolder
from metarl.supervised.image_cache import cache_folder
from metarl.supervised.tasks import SupervisedTasks
from metarl.tasks import SPLITS
from metarl.training.tree import with_options

RNG = np.random.default_rng


def save(path: Path, image: Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def told_apart(path: Path, number: int) -> None:
    """Give a file a byte behind its image, so that no other class has the same file."""
    path.write_bytes(path.read_bytes() + bytes([number]))


def folder(place: Path, names: list[str], images: int = 3, first: int = 0) -> Path:
    """Uniform grey images; each class has a brightness of its own, counted from that of class `first`."""
    for c, name in enumerate(names, first):
        for i in range(images):
            save(place / name / f"{i}.png", Image.new("L", (6, 5), 10 * c + 5))
            told_apart(place / name / f"{i}.png", i)
    return place


def brightness(made: SupervisedTasks, split: Any = "test") -> set[int]:
    """Of all images that the tasks of a split show, 0 to 255."""
    tasks = made.distribution.sample_tasks(RNG(0), 60, split)
    support, _ = made.distribution.examples(tasks, RNG(1), 1, 1)
    return set((255 * support.inputs.flatten(2).mean(-1)).round().int().ravel().tolist())


NAMES = [f"class{c:02d}" for c in range(10)]


def build(place: Path, **options: Any) -> SupervisedTasks:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left out
        return ImageFolder(data_dir=str(place), **{"ways": 2, "image_size": 8, **options}).build()


def test_classes_are_shared_out_by_the_seed(tmp_path: Path) -> None:
    place = folder(tmp_path, NAMES)
    made = build(place)
    assert (made.input_shape, made.outputs, made.examples_available) == ((8, 8, 3), 2, 3)
    shown = [brightness(made, split) for split in SPLITS]
    assert [len(some) for some in shown] == [6, 2, 2]
    assert set.union(*shown) == {10 * c + 5 for c in range(10)}
    assert brightness(build(place)) == shown[2]
    assert brightness(build(place, split_seed=2)) != shown[2]
    assert len(brightness(build(place, split_shares=(0.3, 0.3, 0.4)))) == 4


@pytest.mark.parametrize("validation", ["validation", "val", "valid", "Val"])
@pytest.mark.parametrize("wrapped", ["", "dataset/inner"])
def test_own_splits_are_kept(tmp_path: Path, validation: str, wrapped: str) -> None:
    names = [f"{split}/{c}{split}" for split in ("train", validation, "test") for c in range(2)]
    folder(tmp_path / wrapped, names)
    made = build(tmp_path)
    assert [brightness(made, split) for split in SPLITS] == [{5, 15}, {25, 35}, {45, 55}]


def test_options_choose_size_channels_and_turns(tmp_path: Path) -> None:
    place = folder(tmp_path, NAMES)
    assert build(place, image_size=5).input_shape == (5, 5, 3)
    assert build(place, channels=1).input_shape == (8, 8, 1)
    distributions = [build(place, rotate=flag).distribution for flag in (False, True)]
    turns = [distribution.sample_tasks(RNG(0), 9, "train")[:, 2:].max() for distribution in distributions]
    assert turns == [0, 3]


def gradient(top: float, dtype: Any) -> Image.Image:
    """Half black, half as bright as `top`."""
    pixels = np.zeros((8, 8), dtype)
    pixels[:, 4:] = top
    return Image.fromarray(pixels)


def palette() -> Image.Image:
    return gradient(200, np.uint8).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)


def transparent() -> Image.Image:
    """Half opaque black, half transparent black, which is white paper."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4, 3] = 255
    return Image.fromarray(pixels)


KINDS: dict[str, tuple[str, Any, float]] = {  # file, image, brightness of its right half
    "16-bit png": ("png", gradient(51400, np.uint16), 200 / 255),
    "16-bit tiff": ("tiff", gradient(51400, np.uint16), 200 / 255),
    "32-bit integers of 16-bit values": ("tiff", gradient(51400, np.int32), 200 / 255),
    "floats": ("tiff", gradient(0.5, np.float32), 0.5),
    "one bit": ("png", gradient(255, np.uint8).convert("1"), 1.0),
    "grey": ("bmp", gradient(200, np.uint8), 200 / 255),
    "palette": ("gif", palette(), 200 / 255),
    "grey and alpha": ("png", transparent().convert("LA"), 1.0),
    "colours and alpha": ("webp", transparent(), 1.0),
    "cmyk": ("jpg", gradient(200, np.uint8).convert("CMYK"), 200 / 255),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_image_is_scaled_rightly(tmp_path: Path, kind: str, channels: Any) -> None:
    suffix, image, expected = KINDS[kind]
    for c in range(6):
        for i in range(2):
            save(tmp_path / f"{c}" / f"{i}.{suffix}", image, **({"lossless": True} if suffix == "webp" else {}))
            told_apart(tmp_path / f"{c}" / f"{i}.{suffix}", 2 * c + i)
    made = build(tmp_path, channels=channels, split_shares=(1 / 3, 1 / 3, 1 / 3))
    support, _ = made.distribution.examples(made.distribution.sample_tasks(RNG(0), 1, "train"), RNG(0), 1, 1)
    image = support.inputs[0, 0].numpy()
    np.testing.assert_allclose(image[:, 0], 0, atol=0.02)
    np.testing.assert_allclose(image[:, -1], expected, atol=0.02)


def test_cameras_that_were_turned_are_turned_back(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the picture is at the right
    for c in range(6):
        for i in range(2):
            save(tmp_path / f"{c}" / f"{i}.png", gradient(255, np.uint8), exif=exif)
            told_apart(tmp_path / f"{c}" / f"{i}.png", 2 * c + i)
    made = build(tmp_path, channels=1, split_shares=(1 / 3, 1 / 3, 1 / 3))
    support, _ = made.distribution.examples(made.distribution.sample_tasks(RNG(0), 1, "train"), RNG(0), 1, 1)
    image = support.inputs[0, 0, :, :, 0]
    assert image[0].max() < 0.1
    assert image[-1].min() > 0.9


def test_what_is_left_out_is_said_in_one_line(tmp_path: Path) -> None:
    place = folder(tmp_path, NAMES)
    save(place / "few" / "0.png", Image.new("L", (6, 5)))
    save(place / "class00" / "deep.tiff", gradient(70000, np.int32))  # more than 16 bits
    (place / "class01" / "notes.txt").write_text("not an image")
    (place / "class02" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    (place / "class02" / ".DS_Store").touch()
    (place / "__MACOSX" / "class00").mkdir(parents=True)
    (place / "__MACOSX" / "class00" / "0.png").touch()
    (place / "README.md").touch()
    words = (
        r"left out 2 files that are hidden \(__MACOSX/class00/0.png ...\), 1 file outside class folders \(README.md\), "
        r"3 files that no image can be read from \(class00/deep.tiff ...\), 1 class with fewer than 2 images \(few\)$"
    )
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(UserWarning, match=words):
            made = ImageFolder(data_dir=str(place), ways=2, image_size=8).build()
        assert set.union(*(brightness(made, split) for split in SPLITS)) == {10 * c + 5 for c in range(10)}


def test_small_classes_are_left_out_on_demand(tmp_path: Path) -> None:
    folder(tmp_path, NAMES, images=2)
    folder(tmp_path, NAMES[:7], images=3)
    assert build(tmp_path).examples_available == 2
    with pytest.warns(UserWarning, match=r"left out 3 classes with fewer than 3 images \(class07 ...\)"):
        made = ImageFolder(
            data_dir=str(tmp_path), ways=2, image_size=8, least_images=3, split_shares=(0.4, 0.3, 0.3)
        ).build()
    assert made.examples_available == 3


def test_mistakes_are_named(tmp_path: Path) -> None:
    (archive := tmp_path / "images.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"images\.zip is a file, which must be unpacked first: images are expected"):
        build(archive)
    archive.unlink()
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere: images are expected there, as CLASS"):
        build(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"has no class of 2 images or more: it is empty; expected CLASS/.*: nothing"):
        build(tmp_path)
    own = folder(tmp_path / "own", ["train/a", "train/b", "val/c", "val/d"])
    with pytest.raises(ValueError, match=r"has no class for test: expected .*, with different classes in each"):
        build(own)
    folder(own, ["test/a", "test/b"], first=4)
    with pytest.raises(ValueError, match="class a is in two splits, train and test, and no class may be"):
        build(own)
    folder(own, ["other"], first=6)
    with pytest.raises(ValueError, match="has train, validation or test, and other beside them"):
        build(own)
    few = folder(tmp_path / "few", NAMES)
    with pytest.raises(ValueError, match="ways must be from 2 to 2, the classes for validation; got 5"):
        build(few, ways=5)
    # Pillow takes whatever memory there is, until the system ends the process.
    with pytest.raises(ValueError, match="image_size 10000000: the images of a class need 1,210,719 GiB"):
        build(few, image_size=10**7)
    for options, words in (
        ({"split_shares": (1.0, 0.0, 0.0)}, "split_shares must be a list of values that are each between 0 and 1"),
        ({"split_shares": (0.5, 0.2, 0.2)}, "three positive numbers whose sum is 1"),
        ({"least_images": 1}, "least_images must be at least 2; got 1"),
    ):
        with pytest.raises(ValueError, match=words):
            build(few, **options)


def test_the_cache_is_where_it_is_wanted_and_made_anew_when_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, mine = folder(tmp_path / "data", NAMES), tmp_path / "mine"
    before = brightness(build(place, cache_dir=str(mine)))
    (pixels,) = mine.glob("image_folder-*.pixels")
    (description,) = mine.glob("image_folder-*.json")
    for path, data in ((pixels, b"short"), (description, b"{"), (description, b"[]")):
        path.write_bytes(data)
        assert brightness(build(place, cache_dir=str(mine))) == before
    build(place, cache_dir=str(mine), channels=1)
    assert len(list(mine.glob("image_folder-*.pixels"))) == 2
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / ".cache" / "metarl"
    assert cache_folder("~/mine") == tmp_path / "mine"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(None) == tmp_path / "xdg" / "metarl"


def warned(place: Path, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ImageFolder(data_dir=str(place), **{"ways": 2, "image_size": 8, **options}).build()
    return [str(warning.message) for warning in caught]


def test_links_are_followed(tmp_path: Path) -> None:
    """As subsets of large sets are made: class folders, or files, that are links; not those that lead around."""
    real, linked = folder(tmp_path / "real", NAMES), tmp_path / "linked"
    linked.mkdir()
    for name in NAMES[1:]:
        (linked / name).symlink_to(real / name)
    (linked / NAMES[0]).mkdir()
    for i in range(3):
        (linked / NAMES[0] / f"{i}.png").symlink_to(real / NAMES[0] / f"{i}.png")
    (linked / NAMES[0] / "around").symlink_to(linked)
    assert [brightness(build(linked), split) for split in SPLITS] == [
        brightness(build(real), split) for split in SPLITS
    ]
    (linked / NAMES[0] / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert warned(linked) == [f"{linked}: left out 1 file that are links to nowhere ({NAMES[0]}/gone.png)"]


def test_what_is_in_two_classes_is_said_every_time(tmp_path: Path) -> None:
    """Few-shot learning tested on what was trained on would look better than it is."""
    place = folder(tmp_path, NAMES)
    distinct = [Image.new("RGB", (6, 5), (i, 0, 0)) for i in range(2)]
    for name in NAMES[:2]:
        save(place / name / "x.png", distinct[0])
    words = f"{place}: the same image is in two classes: {NAMES[0]}/x.png and {NAMES[1]}/x.png"
    assert [warned(place), warned(place)] == [[words], [words]]  # decoded, and from the cache
    save(place / NAMES[0] / "y.png", distinct[1])
    save(place / NAMES[2] / "z.png", distinct[1])
    (place / NAMES[3] / "notes.txt").write_text("no image")
    (remark,) = warned(place)
    assert remark.startswith(f"{place}: left out 1 file that no image can be read from ({NAMES[3]}/notes.txt); ")
    assert remark.endswith(f"2 images are in two classes: {NAMES[0]}/x.png and {NAMES[1]}/x.png ...")
    save(place / NAMES[0] / "z.png", distinct[0])
    (both,) = warned(place)
    assert both.startswith(f"{remark}; the same image is twice in a class")


def test_what_may_not_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder(tmp_path, NAMES)
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.parts[-2:] == (NAMES[4], "1.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert warned(place) == [f"{place}: left out 1 file that no image can be read from ({NAMES[4]}/1.png)"]


def test_other_images_than_those_of_training_are_said(tmp_path: Path) -> None:
    """A run went on with whatever lay in the folder that it was given, in silence."""
    config = preset_config("omniglot-5way-1shot", choices={"dataset": "image_folder", "network": "dense"})
    first = folder(tmp_path / "first", NAMES)
    sizes = {"ways": 2, "queries": 1, "evaluation_queries": 1, "image_size": 8, "compile": False}
    begun = with_options(config, sizes | {"data_dir": str(first)}).problem.recorded()
    assert isinstance(begun, Supervised)
    assert isinstance(begun.dataset, ImageFolder)
    assert begun.recorded() is begun
    dataset = begun.dataset

    def built_of(place: Path) -> list[str]:
        elsewhere = dataclasses.replace(begun, dataset=dataclasses.replace(dataset, data_dir=str(place)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            elsewhere.build(config.setting())
        return [str(each.message) for each in caught]

    assert built_of(first) == built_of(folder(tmp_path / "moved", NAMES)) == []
    words = ["the examples are others than those that training began with: is it the same data?"]
    assert built_of(folder(tmp_path / "brighter", NAMES, first=3)) == words
    assert built_of(folder(tmp_path / "more", [*NAMES, "zebra"])) == words


def test_copies_within_a_class_are_said(tmp_path: Path) -> None:
    """They may be support and query of one task, which the best network is then told the answer of."""
    place = folder(tmp_path, NAMES)
    (place / NAMES[0] / "again.png").write_bytes((place / NAMES[0] / "1.png").read_bytes())
    (remark,) = warned(place)
    assert remark == (
        f"{place}: the same image is twice in a class, and so perhaps in a task's support and query: "
        f"{NAMES[0]}/1.png and {NAMES[0]}/again.png"
    )


def test_images_that_are_all_dark_are_said(tmp_path: Path) -> None:
    """Values of 12 bits in files of 16, or of 8 in files of 32, were nearly black in silence."""
    for c in range(10):
        for i in range(2):
            save(tmp_path / f"{c}" / f"{i}.png", Image.fromarray(np.full((5, 5), 400 * c + i, np.uint16)))
    (remark,) = warned(tmp_path)
    assert remark.endswith("the brightest pixel is 14 of 255: do the images use the whole range of their type?")

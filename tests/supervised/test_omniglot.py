import hashlib
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metarl.supervised.datasets import omniglot
from metarl.supervised.datasets.omniglot import ARCHIVES, OLD_CACHE, Characters, Omniglot, load, splits

NAMES = {"images_background": ("Alpha", "Beta"), "images_evaluation": ("Gamma",)}


def drawing(seed: int) -> Image.Image:
    ink = np.random.default_rng(seed).random((105, 105)) < 0.1
    return Image.fromarray(~ink)  # one bit, ink is black


@pytest.fixture(autouse=True)
def small_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders with so many characters count as whole."""
    counts = {name: (md5, 2 * len(NAMES[name])) for name, (md5, _) in ARCHIVES.items()}
    monkeypatch.setattr(omniglot, "ARCHIVES", counts)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def files(name: str) -> dict[str, bytes]:
    """A small archive: two characters in each alphabet."""
    return {
        f"{alphabet}/character{c:02d}/0{c}_{d + 1:02d}.png": png(drawing(d + 100 * c))
        for alphabet in NAMES[name]
        for c in (1, 2)
        for d in range(20)
    }


def unpacked(place: Path) -> Path:
    for name in ARCHIVES:
        for path, data in files(name).items():
            (place / name / path).parent.mkdir(parents=True, exist_ok=True)
            (place / name / path).write_bytes(data)
    return place


def zipped(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Archives like the official ones, whose checksums are then the expected ones."""
    sums = {}
    for name in ARCHIVES:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(f"{name}/", "")
            for path, data in files(name).items():
                archive.writestr(f"{name}/{path}", data)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.zip").write_bytes(buffer.getvalue())
        sums[name] = (hashlib.md5(buffer.getvalue()).hexdigest(), 2 * len(NAMES[name]))
    monkeypatch.setattr(omniglot, "ARCHIVES", sums)
    return place


def test_folders_are_decoded_once_into_a_cache(tmp_path: Path, own_cache: Path) -> None:
    place = unpacked(tmp_path / "data")
    found = load(place)
    assert found.images.shape == (6, 20, 28, 28)
    assert found.alphabet.tolist() == ["Alpha", "Alpha", "Beta", "Beta", "Gamma", "Gamma"]
    assert found.character.tolist() == ["character01", "character02"] * 3
    small = drawing(103).resize((28, 28), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(found.images[2, 3], 1 - np.asarray(small, np.uint8))
    assert {path.name for path in place.iterdir()} == set(ARCHIVES)  # nothing is written among the data
    pixels = set(own_cache.glob("omniglot-*.pixels"))
    moved = place.rename(tmp_path / "elsewhere")
    for field, expected in zip(load(moved), found, strict=True):
        np.testing.assert_array_equal(field, expected)
    assert set(own_cache.glob("omniglot-*.pixels")) == pixels
    (moved / "images_background" / "Alpha" / "character01" / "01_01.png").write_bytes(png(drawing(7)))
    assert not np.array_equal(load(moved).images, found.images)  # what changes is decoded anew


def test_a_file_of_arrays_is_read_and_beside_archives_taken_for_them(tmp_path: Path) -> None:
    names = np.array(["a", "a", "b"])
    images = (np.random.default_rng(0).random((3, 20, 28, 28)) < 0.1).astype(np.uint8)
    np.savez(tmp_path / OLD_CACHE, images=images, alphabet=names, character=names)
    for place in (tmp_path, tmp_path / OLD_CACHE):
        np.testing.assert_array_equal(load(place).images, images)


def test_zip_archives_give_the_same_and_are_downloaded_if_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, expected = zipped(tmp_path / "server", monkeypatch), load(unpacked(tmp_path / "folders"))
    monkeypatch.setattr(omniglot, "SOURCE", source.as_uri())
    for found in (load(source), load(tmp_path / "new")):
        np.testing.assert_array_equal(found.images, expected.images)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {*(f"{name}.zip" for name in ARCHIVES)}


def test_a_wrong_checksum_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = zipped(tmp_path / "server", monkeypatch)
    monkeypatch.setattr(omniglot, "SOURCE", source.as_uri())
    (source / "images_background.zip").write_bytes(b"another file")
    for place in (tmp_path / "new", source):
        with pytest.raises(ValueError, match=r"images_background.zip is damaged or another file: its MD5 sum is"):
            load(place)
    assert not list((tmp_path / "new").iterdir())


def test_what_cannot_be_downloaded_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(omniglot, "SOURCE", (tmp_path / "nowhere").as_uri())
    with pytest.raises(ValueError, match=r"cannot be downloaded .* put it at .*images_background.zip"):
        load(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_bad_files_are_named_and_leave_no_cache(tmp_path: Path) -> None:
    place = unpacked(tmp_path)
    broken = place / "images_evaluation" / "Gamma" / "character02" / "02_20.png"
    for data in (b"", b"no image", broken.read_bytes()[:60]):
        broken.write_bytes(data)
        with pytest.raises(ValueError, match=r"images_evaluation: Gamma/character02/02_20.png is not an image"):
            load(place)
    broken.unlink()
    with pytest.raises(ValueError, match="Gamma/character02 has 19 drawings; expected 20"):
        load(place)
    shutil.rmtree(broken.parent)
    with pytest.raises(ValueError, match=r"images_evaluation holds 1 characters; expected 2, .* is it whole"):
        load(place)
    assert {path.name for path in place.iterdir()} == set(ARCHIVES)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated"])
def test_caches_must_be_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / OLD_CACHE).write_bytes(content)
    with pytest.raises(ValueError, match=f"{OLD_CACHE} is not an Omniglot cache"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"there is no file .*missing.npz"):
        load(tmp_path / "missing.npz")


def test_caches_must_have_the_right_images(tmp_path: Path) -> None:
    names = np.array(["a"] * 3)
    np.savez(tmp_path / "other.npz", images=np.zeros((3, 20, 28, 28), np.uint8), alphabet=names, character=names[:2])
    with pytest.raises(ValueError, match=r"other.npz is not .*3,\) alphabets and \(2,\) characters"):
        load(tmp_path / "other.npz")
    with (tmp_path / "other.npz").open("wb") as file:
        np.save(file, names)
    with pytest.raises(ValueError, match=r"other.npz is not an Omniglot cache"):
        load(tmp_path / "other.npz")
    for images in (np.zeros((3, 20, 28, 27), np.uint8), np.full((3, 20, 28, 28), 255, np.uint8)):
        np.savez(tmp_path / "other.npz", images=images, alphabet=names, character=names)
        with pytest.raises(ValueError, match=r"other.npz is not .*: images must be uint8, 0 or 1, of shape"):
            load(tmp_path / "other.npz")


def test_splits_are_disjoint_and_the_same_every_time() -> None:
    names = np.array(["a"] * 1623)
    data = splits(Characters(np.zeros((1623, 20, 1, 1), np.uint8), names, names))
    assert {name: len(classes) for name, classes in data.splits.items()} == {
        "train": 1100,
        "validation": 100,
        "test": 423,
    }
    assert sorted(np.concatenate(list(data.splits.values()))) == list(range(1623))
    shuffled = np.random.default_rng(0).permutation(1623)
    letters = np.array([f"{i:04d}" for i in range(1623)])
    others = splits(Characters(np.zeros((1623, 20, 1, 1), np.uint8), names, letters[shuffled]))
    assert shuffled[others.splits["test"]].tolist() == data.splits["test"].tolist()  # by characters, not by rows
    assert data.splits["test"][:3].tolist() == [1104, 1014, 1029]
    with pytest.raises(ValueError, match="Omniglot has 1623 characters; got 3"):
        splits(Characters(np.zeros((3, 20, 1, 1), np.uint8), names[:3], names[:3]))


RESIZED = {
    "resized": ("", "1", False),
    "in omniglot/data": ("data", "1", False),
    "grey": ("", "L", False),
    "coloured": ("omniglot_resized", "RGB", False),
    "white on black": ("", "L", True),
}


@pytest.mark.parametrize("layout", RESIZED)
def test_resized_folders_of_characters_are_read(tmp_path: Path, layout: str) -> None:
    folder, mode, inverted = RESIZED[layout]
    expected = load(unpacked(tmp_path / "official"))
    for name in ARCHIVES:
        for path, data in files(name).items():
            with Image.open(io.BytesIO(data)) as image:
                small = image.resize((28, 28), Image.Resampling.NEAREST)
            target = tmp_path / "resized" / folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            (Image.fromarray(~np.asarray(small)) if inverted else small).convert(mode).save(target)
    found = load(tmp_path / "resized")
    np.testing.assert_array_equal(found.images, expected.images)
    assert found.alphabet.tolist() == expected.alphabet.tolist()


@pytest.mark.parametrize("folder", ["omniglot-py", "python"])
def test_archives_are_found_where_others_put_them(tmp_path: Path, folder: str) -> None:
    unpacked(tmp_path / folder)
    assert len(load(tmp_path).images) == 6


def test_foreign_folders_are_told_from_empty_ones_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(omniglot, "download", lambda *_: pytest.fail("downloads"))
    for name in ("one.jpg", "two.jpg", "three.jpg", "four.jpg", "five.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"holds five.jpg, four.jpg, one.jpg, three.jpg and 1 more, and nothing of Om"):
        load(tmp_path)


def test_a_folder_that_cannot_be_written_is_enough(tmp_path: Path, own_cache: Path) -> None:
    """The archives lie there, the cache elsewhere; a cache that cannot be written says what to do."""
    place = unpacked(tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in (place, *place.rglob("*"))}
    load(place, str(tmp_path / "mine"))
    assert {path: path.stat().st_mtime_ns for path in (place, *place.rglob("*"))} == before
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot make the folder .*file.*: choose another cache_dir"):
        load(place, str(tmp_path / "file" / "cache"))


def test_the_part_turns_characters(tmp_path: Path) -> None:
    images = (np.random.default_rng(0).random((1623, 20, 28, 28)) < 0.1).astype(np.uint8)
    names = np.array(["a"] * 1623)
    np.savez(tmp_path / "characters.npz", images=images, alphabet=names, character=names)
    made = Omniglot(data_dir=str(tmp_path / "characters.npz"), ways=7).build()
    assert (made.input_shape, made.outputs, made.examples_available) == ((28, 28, 1), 7, 20)
    assert set(made.distribution.sample_tasks(np.random.default_rng(0), 50, "test")[:, 7:].ravel()) == {0, 1, 2, 3}

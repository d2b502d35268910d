"""The example of images in folders: what it draws is a data set, and its program trains on it and evaluates."""

import functools
import json
import runpy
from pathlib import Path

import image_folder
import numpy as np
import pytest
from PIL import Image
from scripts import ROOT, run


def test_images_of_a_class_are_alike_and_classes_differ(tmp_path: Path) -> None:
    image_folder.draw(tmp_path, classes=3, images=4)
    files = sorted(tmp_path.glob("*/*.png"))
    assert [path.parent.name for path in files[::4]] == ["class-00", "class-01", "class-02"]
    images = np.array([np.array(Image.open(path).resize((14, 14)), float).ravel() for path in files])
    classes = np.repeat(np.arange(3), 4)
    away = np.linalg.norm(images[:, None] - images[None], axis=-1)
    same = classes[:, None] == classes[None]
    assert away[same & (away > 0)].mean() < away[~same].mean()


def test_its_program_trains_and_evaluates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image_folder.draw(Path("data/lines"), classes=40, images=2)
    taken: dict[str, list[str]] = {}
    with monkeypatch.context() as patch:
        for name in ("train", "evaluate"):
            patch.setattr(f"metarl.experiments.{name}.command", functools.partial(taken.__setitem__, name))
        patch.setattr("sys.argv", ["image_folder.py"])
        runpy.run_path(str(ROOT / "examples" / "image_folder.py"), run_name="__main__")
    small = ["--iterations", "2", "--tasks", "2", "--no-compile", "--evaluation-tasks", "3", "--validation-tasks", "2"]
    one = ["--evaluation-steps", "1", "--evaluation-queries", "1", "--queries", "1", "--log-every", "1"]
    for name, more in (("train", [*small, *one]), ("evaluate", [])):
        result = run(name, *taken[name], *more)
        assert result.returncode == 0, result.stderr
    assert json.loads(Path("runs/lines/evaluation.json").read_text())["tasks"] == 3

"""The example of Meta-World, on a stand-in for it: it trains, and adapts to a goal of the test."""

import runpy
from pathlib import Path

import meta_world
import meta_world_stand_in
import pytest
from scripts import ROOT, TOY, run


def test_it_trains_and_adapts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta_world_stand_in.install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    taken: list[list[str]] = []
    with monkeypatch.context() as patch:
        patch.setattr("metarl.experiments.train.command", taken.append)
        patch.setattr("sys.argv", ["meta_world.py"])
        with pytest.raises(ValueError, match="runs/ml1-reach holds no run"):  # nothing was trained
            runpy.run_path(str(ROOT / "examples" / "meta_world.py"), run_name="__main__")
    assert taken[0][:3] == ["ml1-reach", "--workers", "2"]
    # Without worker processes, because the stand-in is in this process alone.
    result = run("train", taken[0][0], *taken[0][3:], *TOY)
    assert result.returncode == 0, result.stderr
    # The stand-in's goals of the test begin with 4.
    before, after = meta_world.returns("runs/ml1-reach", 4, episodes=2)
    assert before < 0
    assert after < 0

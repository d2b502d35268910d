import dataclasses
import json
from pathlib import Path

import pytest
from toy import TOY

from metarl.training.run_directory import claim, read_config


def test_a_fresh_directory_gets_the_whole_configuration(tmp_path: Path) -> None:
    assert claim(tmp_path / "new" / "run", TOY, resume=False) is None
    document = json.loads((tmp_path / "new" / "run" / "config.json").read_text())
    assert document["config"] == TOY.to_dict()
    assert set(document["versions"]) >= {"torch", "metarl", "gymnasium"}
    assert "git_commit" in document
    assert read_config(tmp_path / "new" / "run") == TOY


def test_another_run_is_never_overwritten(tmp_path: Path) -> None:
    claim(tmp_path, TOY, resume=False)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(ValueError, match="already holds a run: add --resume"):
        claim(tmp_path, TOY, resume=False)
    with pytest.raises(ValueError, match="another configuration: seed is 1 there and 2 here"):
        claim(tmp_path, dataclasses.replace(TOY, seed=2), resume=True)
    assert (tmp_path / "config.json").read_bytes() == before


def test_resume_before_the_first_checkpoint_starts_again(tmp_path: Path) -> None:
    claim(tmp_path, TOY, resume=False)
    assert claim(tmp_path, TOY, resume=True) is None


def test_what_is_no_part_of_the_numbers_may_change(tmp_path: Path) -> None:
    claim(tmp_path, TOY, resume=False)
    assert claim(tmp_path, dataclasses.replace(TOY, iterations=9, evaluation_tasks=7), resume=True) is None


def test_foreign_directories_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        claim(tmp_path, TOY, resume=False)
    with pytest.raises(ValueError, match="is a file; a run needs a directory"):
        claim(tmp_path / "thesis.tex", TOY, resume=False)
    with pytest.raises(ValueError, match="holds no run"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{]")
    with pytest.raises(ValueError, match="is not a configuration of metarl"):
        read_config(tmp_path)

"""The README is checked against the project: its Python runs, its commands, flags, files and targets exist."""

import re
from pathlib import Path

import pytest

from metarl.experiments.presets import PRESETS, preset_config
from metarl.parts import options
from metarl.training.tree import registries

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run(block: str) -> None:
    exec(compile(block, "README.md", "exec"), {})


def test_there_are_python_blocks() -> None:
    assert len(PYTHON) >= 2


def test_named_files_exist() -> None:
    for path in re.findall(r"\((experiments/results/[^)]+)\)", README):
        assert (ROOT / path).is_file(), path
    for script in re.findall(r"experiments/(\w+\.py)", README):
        assert (ROOT / "experiments" / script).is_file(), script


def test_named_flags_exist() -> None:
    scripts = "".join(
        (ROOT / "experiments" / f"{name}.py").read_text()
        for name in ("train", "evaluate", "plot", "render", "reproduce", "benchmark", "readme", "study")
    )
    known: set[str] = set()
    for preset in ("navigation", "sinusoid"):
        config = preset_config(preset)
        known |= {option.name for option in (*options(type(config)), *options(type(config.problem)))}
        for registry in registries(config).values():
            known |= {option.name for name in registry.names for option in options(registry.find(name))}
    # what goes before the script is torchrun's, or SLURM's
    ours = re.sub(r"(?s)(torchrun|#SBATCH).*?(?=experiments/train.py|\n#|\nsrun)", "", README)
    for flag in set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", ours)) - {"logdir", "help"}:
        name = flag.removeprefix("no-").replace("-", "_")
        assert name in known or f"    {name}: " in scripts, flag


def test_named_presets_are_all_presets() -> None:
    table = re.search(r"\| preset \|.*?\n\n", README, re.S)
    assert table is not None
    assert set(re.findall(r"`([\w-]+)`", "".join(re.findall(r"^\|([^|]+)\|", table.group(), re.M)))) == set(PRESETS)


def test_make_targets_exist_and_ci_calls_the_readmes_test_command() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([\w-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.M), target
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make")]
    assert commands == ["make test"]
    assert "\nmake test\n" in README

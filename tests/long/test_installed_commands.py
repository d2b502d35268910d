"""The command `metarl` of an installed copy in a user's folder: every printed command is run as it was printed."""

import shlex
from pathlib import Path

import pytest
from scripts import TOY
from wheel import Installed, install


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("installed"))


def test_train_evaluate_plot_and_render_in_a_folder_of_the_users(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("raise RuntimeError('the user's own')\n")
    trained = installed.start(f"metarl train navigation-paper {shlex.join(TOY)} --run-dir 'my run'", tmp_path)
    assert trained.returncode == 0, trained.stderr
    (follow_up,) = [line for line in trained.stderr.splitlines() if line.startswith("evaluate: ")]
    assert follow_up == "evaluate: metarl evaluate 'my run'"
    unscored = installed.start("metarl plot 'my run' --output figure.png", tmp_path)
    assert unscored.returncode == 2
    assert unscored.stderr.strip().endswith("run metarl evaluate 'my run' first")
    for command in (
        follow_up.removeprefix("evaluate: "),
        "metarl plot 'my run' --output figure.png",  # with the published curves
        "metarl render 'my run' --output film.png --height 40",
        "python -m metarl.experiments.console evaluate 'my run'",
    ):
        done = installed.start(command, tmp_path)
        assert done.returncode == 0, (command, done.stderr)
    assert {"figure.png", "film.png", "my run"} <= {path.name for path in tmp_path.iterdir()}

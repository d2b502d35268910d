"""A resume, option by option: what makes other numbers is refused by name, what does not is admitted."""

import warnings
from pathlib import Path

import pytest
from built_from_config import changed, make_outer, make_problem
from every_option import Case, every_case
from toy import TOY

from metarl.parts import MAY_CHANGE
from metarl.training.checkpoint import save
from metarl.training.loop import fresh
from metarl.training.run_directory import claimed, identity_of, read_parameters
from metarl.training.tree import differences

CASES = list(every_case())
MAY = {  # written out: a marker that is added or lost is a change of what a resume promises
    "iterations", "device", "grace", "max_nonfinite", "max_broken", "threads", "simulator", "compile", "data_dir",
    "cache_dir",
    "evaluation_steps", "evaluation_step_sizes", "evaluation_tasks", "evaluation_checkpoint", "evaluation_episodes",
    "evaluation_counting", "published_tasks", "evaluation_queries", "evaluation_transductive",
    "validation_tasks", "evaluate_every", "render_every", "checkpoint_every", "keep_every", "log_every",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_resume_with_another_value(case: Case, tmp_path: Path) -> None:
    name, stored = case.option.name, case.config.to_dict()
    assert (name in MAY) == (MAY_CHANGE in case.option.markers)
    for other in case.others():
        if name in MAY:
            assert differences(case.config, other) == []
            identity_of(other).require_same(stored, tmp_path)
        else:
            with pytest.raises(ValueError, match=f"another configuration: .*{name} is .* there and .* here"):
                identity_of(other).require_same(stored, tmp_path)


def test_every_option_that_may_change_is_one() -> None:
    assert {case.option.name for case in CASES} >= MAY


FILES = ("checkpoint.pt", "best.pt", "checkpoint.previous.pt", "checkpoint-000002.pt")


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_of_another_run_is_refused(name: str, tmp_path: Path) -> None:
    """Whichever file of the run it lies in the place of, at a resume and where parameters are read."""
    runs = {"one": TOY, "other": changed(TOY, max_kl=0.5)}
    state = fresh(make_problem(TOY), make_outer(TOY), seed=1)._replace(iteration=2)
    for place, config in runs.items():
        with claimed(tmp_path / place, identity_of(config), resume=False):
            for file in FILES:
                save(tmp_path / place / file, state._replace(config=config.to_dict()))
    one = tmp_path / "one"
    (one / name).write_bytes((tmp_path / "other" / name).read_bytes())
    if name == "checkpoint.previous.pt":  # read where the last one cannot be
        (one / "checkpoint.pt").write_bytes(b"PK")
    words = r"\.pt belongs to another configuration: max_kl is 0.5 there and 0.01 here"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*the one before it, of iteration 2, is taken")
        with pytest.raises(ValueError, match=words):
            read_parameters(one, {"best.pt": "best", "checkpoint-000002.pt": 2}.get(name, "last"))
        if name != "checkpoint-000002.pt":  # which a resume does not read
            with pytest.raises(ValueError, match=words), claimed(one, identity_of(TOY), resume=True):
                pass

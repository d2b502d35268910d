"""What a preset has otherwise where the command line gives another choice, and that it is said."""

import pytest

from metarl.experiments.presets.training_arguments import parse
from metarl.training.tree import flat

SETTINGS = {"context_size": 8, "inner_step_size": 2.0, "inner_discount": 0.9, "inner_gae_lambda": 0.9}


@pytest.mark.parametrize("preset", ["cheetah-dir", "cheetah-vel", "ant-dir", "ant-vel", "ant-goal"])
def test_a_robot_with_cavia_has_settings_that_a_context_learns_with(preset: str) -> None:
    arguments = parse([preset, "--rule", "cavia"])
    values = flat(arguments.config)
    assert {name: values[name] for name in SETTINGS} == SETTINGS
    (note,) = arguments.notes
    assert note == (
        "context_size is 8, inner_step_size is 2.0, inner_discount is 0.9, inner_gae_lambda is 0.9 "
        "because --rule is cavia: a context learns with other settings than the weights; "
        "--context-size, --inner-step-size, --inner-discount, --inner-gae-lambda choose others"
    )


@pytest.mark.parametrize("flags", ["", "--rule sgd", "--rule anil"])
def test_other_rules_have_the_presets_settings(flags: str) -> None:
    arguments = parse(["cheetah-dir", *flags.split()])
    values = flat(arguments.config)
    assert (values["inner_discount"], values["inner_gae_lambda"], arguments.notes) == (None, None, ())
    assert values["inner_step_size"] == 0.08


def test_given_options_are_kept() -> None:
    flags = "--rule cavia --inner-discount None --inner-gae-lambda None --context-size 50 --inner-step-size 10"
    arguments = parse(["cheetah-dir", *flags.split()])
    values = flat(arguments.config)
    assert [values[name] for name in SETTINGS] == [50, 10.0, None, None]
    assert arguments.notes == ()

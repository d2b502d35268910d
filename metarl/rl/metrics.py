"""What MAML-RL measures."""

from metarl.metrics import Metric, MetricTable

MEASURES = MetricTable(
    Metric(
        name="rollout/return_step{k}",
        meaning="undiscounted return after k inner gradient steps, over the meta-batch",
        word="return",
        higher_is_better=True,
        reduction="mean",
        headline=True,
    ),
    Metric(
        name="rollout/success_step{k}",
        meaning="share of the episodes that succeeded after k inner gradient steps, over the meta-batch",
        word="success",
        higher_is_better=True,
        reduction="mean",
        headline=True,
    ),
    Metric(
        name="rollout/achieved_step{k}",
        meaning="what the episodes achieved after k inner gradient steps, in the environment's own terms",
        reduction="mean",
    ),
    Metric(
        name="reward/{name}_step{k}",
        meaning="sum of one term of the reward over an episode, after k inner gradient steps, over the meta-batch",
        higher_is_better=True,
        reduction="mean",
    ),
    Metric(
        name="evaluation/return_step{k}",
        meaning="undiscounted return after k gradient steps, over the validation tasks",
        word="return",
        higher_is_better=True,
        headline=True,
        score="average_return",
    ),
    Metric(
        name="rollout/broken",
        meaning="share of the episodes of the meta-batch that broke",
        higher_is_better=False,
        reduction="mean",
    ),
    Metric(
        name="rollout/broken_{name}",
        meaning="share of the episodes that broke for this reason; only where there were any",
        higher_is_better=False,
        reduction="mean",
        sparse=True,
    ),
    Metric(
        name="inner/update_norm",
        meaning="Euclidean distance between a task's parameters before and after adaptation",
        reduction="mean",
    ),
    Metric(name="policy/{name}", meaning="how much the actions scatter, such as their standard deviation"),
    Metric(name="env_steps", meaning="environment steps since the start of the run", word="timesteps", reduction="sum"),
    Metric(name="time/sample", meaning="time for rollouts", unit="s", higher_is_better=False),
    Metric(name="time/adapt", meaning="time for advantages and inner steps", unit="s", higher_is_better=False),
    Metric(
        name="time/env_steps_per_s",
        meaning="environment steps a second, of all ranks",
        unit="1/s",
        higher_is_better=True,
    ),
)

"""Declarations of the metrics of supervised MAML."""

from metarl.metrics import Metric, MetricTable

TIMES = (
    Metric(name="time/sample", meaning="time for tasks and their examples", unit="s", higher_is_better=False),
    Metric(name="time/adapt", meaning="time to adapt and score for the metrics", unit="s", higher_is_better=False),
)


def measures(kind: str) -> MetricTable:
    """Declarations of the metrics of a `regression` or a `classification`."""
    classifies = kind == "classification"
    loss = "loss" if classifies else "mean squared error"
    losses = _scores("loss", loss, "loss", higher_is_better=False, headline=not classifies)
    accuracies = _scores("accuracy", "accuracy", "share of right answers", higher_is_better=True, headline=True)
    return MetricTable(*losses, *(accuracies if classifies else ()), *TIMES)


def headline(kind: str) -> Metric:
    """The metric of the validation tasks whose score tables and figures show, and by which best.pt is chosen."""
    return next(metric for metric in measures(kind).headlines if metric.score)


def _scores(name: str, word: str, meaning: str, *, higher_is_better: bool, headline: bool) -> tuple[Metric, Metric]:
    """Declare the metrics of a score: over the meta-batch, and over the validation tasks."""
    return (
        Metric(
            name=f"train/{name}_step{{k}}",
            meaning=f"{meaning} after k gradient steps on the query examples of the meta-batch",
            word=word,
            higher_is_better=higher_is_better,
            reduction="mean",
            headline=headline,
        ),
        Metric(
            name=f"validation/{name}_step{{k}}",
            meaning=f"{meaning} after k gradient steps on the query examples of the validation tasks",
            word=word,
            higher_is_better=higher_is_better,
            headline=headline,
            score=name,
        ),
    )

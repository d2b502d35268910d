import numpy as np
import torch

from metarl.supervised.datasets.sinusoid import Sinusoid


def test_tasks_cover_the_papers_ranges() -> None:
    tasks = Sinusoid().build().distribution.sample_tasks(np.random.default_rng(0), 4000, "train")
    assert tasks.shape == (4000, 2)
    np.testing.assert_allclose(tasks.min(0), [0.1, 0.0], atol=0.01)
    np.testing.assert_allclose(tasks.max(0), [5.0, np.pi], atol=0.01)
    np.testing.assert_allclose(tasks.mean(0), [2.55, np.pi / 2], atol=0.1)


def test_examples_lie_on_the_curve() -> None:
    tasks = Sinusoid().build().distribution.sample_tasks(np.random.default_rng(0), 50, "train")
    support, query = Sinusoid().build().distribution.examples(tasks, np.random.default_rng(1), 5, 10)
    assert support.inputs.shape == support.targets.shape == (50, 5, 1)
    assert query.inputs.shape == query.targets.shape == (50, 10, 1)
    for one in (support, query):
        assert one.inputs.dtype == torch.float32
        x = one.inputs.double().numpy()
        np.testing.assert_allclose(one.targets, tasks[:, :1, None] * np.sin(x - tasks[:, 1:, None]), atol=1e-5)
        assert -5 <= x.min() < -4
        assert 4 < x.max() <= 5


def test_the_oracle_sees_the_task_and_the_same_examples() -> None:
    tasks = Sinusoid().build().distribution.sample_tasks(np.random.default_rng(0), 3, "train")
    (plain, _), (oracle, _) = (
        one.distribution.examples(tasks, np.random.default_rng(1), 4, 2)
        for one in (Sinusoid().build(), Sinusoid().build().with_task_in_inputs())
    )
    torch.testing.assert_close(oracle.inputs[..., :1], plain.inputs, rtol=0, atol=0)
    np.testing.assert_allclose(oracle.inputs[..., 1:], np.broadcast_to(tasks[:, None], (3, 4, 2)), rtol=1e-6)
    torch.testing.assert_close(oracle.targets, plain.targets, rtol=0, atol=0)

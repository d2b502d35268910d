import itertools

import numpy as np
import torch

from metarl.randomness import Purpose, numpy_generator, torch_generator


def test_every_key_has_a_stream_of_its_own_and_always_the_same() -> None:
    keys = list(itertools.product((0, 1), Purpose, (0, 1), (0, 1)))  # seed, purpose, iteration, task
    draws = {key: int(numpy_generator(*key).integers(2**63 - 1)) for key in keys}
    assert len(set(draws.values())) == len(keys)
    assert all(int(numpy_generator(*key).integers(2**63 - 1)) == draw for key, draw in draws.items())


def test_torch_generators_are_keyed_alike_and_leave_global_state_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()
    one, same, other = (torch.rand(3, generator=torch_generator(1, Purpose.PARAMETERS, k)) for k in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state(legacy=False)["state"]["key"] == numpy_state).all()

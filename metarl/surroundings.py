"""Settings of torch for a whole program, such as `no_grad`: what a program sets must not change metarl's numbers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

DEVICES = ("cpu", "cuda")  # kinds of devices, of which each has its own autocast


@contextmanager
def usual_torch() -> Iterator[None]:
    """Compute inside the block, or in the decorated function, as where nothing was set.

    Gradients are kept under `torch.no_grad` and `torch.inference_mode`, no autocast lowers the precision, and tensors
    are made on the CPU unless a device is named. The default dtype stays: it is the dtype of fresh parameters.
    """
    # Each is entered only where it is needed, because an agent acts in less time than all of them take.
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for device in DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def gradients_kept() -> Iterator[None]:
    """Restore at the end of the block whether torch keeps gradients, which a user's code in it may switch off."""
    before = torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_grad_enabled(before)

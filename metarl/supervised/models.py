"""The networks of Finn et al. 2017, sections 5.1 and 5.2, and of the authors' release.

Batch norm uses the statistics of the batch that it is given, support and query separately, also at test: predictions
are transductive. It has no scale, and a shift that inner rules do not adapt by default
(`rules.GradientRule.not_adapted`); epsilon is 1e-3.

Initial weights are those of the release, with one exception: the last layer of Omniglot's network is Xavier-uniform
here, like all convolutions, and normal with a standard deviation of 1 there, so that the first inner steps are smaller
here.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear, max_pool2d, pad

from metarl.engine.model import Model, mlp, truncated_normal, xavier_uniform
from metarl.engine.params import Params

EPSILON = 1e-3  # of batch norm, as in the authors' release
DENSE_STD = 0.01  # standard deviation of a fully connected network's initial weights, as in the authors' release
CONVOLUTIONS = 4
PAIRS = ((0, 2), (1, 1))  # the three pixels of a kernel's side: both of one pair, and the first of the next


def regressor(inputs: int, hidden_sizes: Sequence[int], outputs: int) -> Model:
    """Fully connected layers with ReLU, no batch norm, then a linear one: inputs [N, inputs] -> [N, outputs]."""
    return mlp((inputs, *hidden_sizes, outputs), "relu", std=DENSE_STD)


def dense_classifier(shape: Sequence[int], hidden_sizes: Sequence[int], ways: int) -> Model:
    """Fully connected layers with batch norm and ReLU, then a linear one: inputs [N, *shape] -> logits [N, ways]."""
    sizes = [torch.Size(shape).numel(), *hidden_sizes]

    def init(generator: torch.Generator) -> Params:
        params: Params = {}
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            params[f"body.{layer}.weight"] = truncated_normal((fan_out, fan_in), DENSE_STD, generator)
            params[f"body.{layer}.shift"] = torch.zeros(fan_out)
        return params | _head(truncated_normal((ways, sizes[-1]), DENSE_STD, generator))

    def apply(params: Params, inputs: Tensor) -> Tensor:
        hidden = inputs.flatten(1)
        for layer in range(len(hidden_sizes)):
            hidden = linear(hidden, params[f"body.{layer}.weight"])
            hidden = torch.relu(_batch_norm(hidden, params[f"body.{layer}.shift"]))
        return linear(hidden, params["head.weight"], params["head.bias"])

    return Model(init, apply)


def convolutional_classifier(shape: Sequence[int], filters: int, ways: int, *, pooled: bool) -> Model:
    """Four 3 x 3 convolutions with batch norm and ReLU, then a linear layer: inputs [N, *shape] -> logits [N, ways].

    Args:
        shape: height, width and channels of an image.
        filters: number of filters of each convolution.
        ways: N, number of classes.
        pooled: convolve at every pixel, halve by 2 x 2 max-pooling, and give all remaining values to the linear layer
            (MiniImagenet). Otherwise convolve at every second pixel, and give the mean over the remaining pixels to the
            linear layer (Omniglot).

    Raises:
        ValueError: images are too small to be halved four times.
    """
    height, width, channels = shape
    sides = [(height, width)]
    for _ in range(CONVOLUTIONS):
        h, w = sides[-1]
        sides.append((h // 2, w // 2) if pooled else ((h + 1) // 2, (w + 1) // 2))
    if min(sides[-1]) < 1:
        raise ValueError(f"images must be at least 16 x 16 to be halved {CONVOLUTIONS} times; got {height} x {width}")
    features = filters * (sides[-1][0] * sides[-1][1] if pooled else 1)
    convolve = _convolve_and_pool if pooled else _convolve_every_second

    def init(generator: torch.Generator) -> Params:
        params: Params = {}
        for layer in range(CONVOLUTIONS):
            params[f"body.{layer}.weight"] = xavier_uniform((filters, filters if layer else channels, 3, 3), generator)
            params[f"body.{layer}.shift"] = torch.zeros(filters)
        return params | _head(xavier_uniform((ways, features), generator))

    def apply(params: Params, inputs: Tensor) -> Tensor:
        hidden = inputs
        for layer in range(CONVOLUTIONS):
            hidden = convolve(hidden, params[f"body.{layer}.weight"], params[f"body.{layer}.shift"])
        hidden = hidden.flatten(1) if pooled else hidden.mean((1, 2))
        return linear(hidden, params["head.weight"], params["head.bias"])

    return Model(init, apply)


def _head(weight: Tensor) -> Params:
    return {"head.weight": weight, "head.bias": torch.zeros(len(weight))}


def _convolve_every_second(images: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    """ReLU(batch norm(convolution with stride 2)), [N, H, W, I] -> [N, ceil(H / 2), ceil(W / 2), O].

    The convolution is one matrix product on patches, which torch.compile makes twice as fast as grouped convolutions.
    A patch is cut from pairs of rows and of columns: nine single pixels would each be a strided slice, whose
    derivatives take twice the time.
    """
    count, rows, columns, channels = images.shape
    height = (rows + 1) // 2
    width = (columns + 1) // 2
    padded = pad(images, (0, 0, 1, 2 * width + 1 - columns, 1, 2 * height + 1 - rows))
    pairs = padded.reshape(count, height + 1, 2, width + 1, 2, channels)
    kernel = weight.permute(2, 3, 1, 0)  # [3, 3, I, O]
    patches = []
    filters = []
    for i, tall in PAIRS:
        for j, wide in PAIRS:
            part = pairs[:, i : i + height, :tall, j : j + width, :wide]  # [N, height, tall, width, wide, I]
            patches.append(part.movedim(2, 3).reshape(count, height, width, tall * wide * channels))
            filters.append(kernel[2 * i : 2 * i + tall, 2 * j : 2 * j + wide].flatten(0, 2))
    maps = torch.cat(patches, -1).reshape(-1, 9 * channels) @ torch.cat(filters)
    return torch.relu(_batch_norm(maps, shift)).reshape(count, height, width, -1)


def _convolve_and_pool(images: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    """Pool(ReLU(batch norm(convolution))), [N, H, W, I] -> [N, H // 2, W // 2, O]."""
    # Not by patches, as above: those of every pixel would take nine times the memory, 8 MB for each image of
    # MiniImagenet and layer.
    maps = conv2d(images.movedim(-1, 1), weight, padding=1).movedim(1, -1)
    hidden = torch.relu(_batch_norm(maps.reshape(-1, len(weight)), shift)).reshape(maps.shape)
    return max_pool2d(hidden.movedim(-1, 1), 2).movedim(1, -1)


def _batch_norm(rows: Tensor, shift: Tensor) -> Tensor:
    """Rows [R, C] with mean 0 and variance 1 in each column, plus a shift [C]."""
    # Written in primitive operations, because torch 2.13 differentiates its own batch norm wrongly in places: see
    # `maml.Learner.task_gradients`.
    centred = rows - rows.mean(0)
    return centred * torch.rsqrt(centred.square().mean(0) + EPSILON) + shift

"""Begin a student from a trained encoder: keep the most important channels, and fit the projection.

The source may have the student's shape, such as a network of the same size with another space, or be wider
and deeper, such as the teacher. If it is less deep, the other blocks begin as the identity.

Sources: Li et al., Pruning Filters for Efficient ConvNets (1608.08710), section 3.2, for removing the same
channels wherever a residual stream passes; Molchanov et al., Pruning Convolutional Neural Networks for
Resource Efficient Inference (1611.06440), section 2.2, for activations as the measure of importance; Chen et
al., Net2Net (1511.05641), section 2.4, for blocks that begin as the identity.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from overheard.errors import ModelError
from overheard.fingerprint.frontend import FloatArray
from overheard_train.checkpoints import load_checkpoint, restore
from overheard_train.pairs import PairMaker
from overheard_train.recipes import Recipe, find_recipe

RIDGE = 1e-3  # of the mean variance of the features
AT_ONCE = 256  # segments
N_BATCHES = 12  # of pairs, to which the projection is fitted

IntArray = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class _Block:
    """A convolution with its batch normalization, and the layer whose output holds its activations."""

    convolution: Any
    norm: Any
    output: Any


@dataclasses.dataclass(frozen=True)
class _Stage:
    """The convolution that begins a stage, and the two of each of its residual blocks."""

    first: _Block
    blocks: list[tuple[_Block, _Block]]


def begin_from(encoder: keras.Model, recipe: Recipe, source: Path, maker: PairMaker, seed: int) -> None:
    """Set the weights of a student's encoder to those of a checkpoint, and fit its projection to the teacher.

    Parameters
    ----------
    encoder : a residual encoder, see :mod:`overheard_train.encoders.residual`
    source : checkpoint of a residual encoder with as many stages, at least as wide
    maker : of the recipe; its pairs must come with the teacher's embeddings

    Raises
    ------
    ModelError
        The checkpoint is missing or damaged, or its network is smaller than the student.
    """
    from overheard_train.encoders import build_encoder

    weights, progress = load_checkpoint(source)
    found = find_recipe(progress.recipe)
    wide = build_encoder(found.encoder, found.spec)
    restore(wide, weights, str(source))
    batches = [
        maker.batch(np.random.default_rng([seed, number, 51]), recipe.n_pairs) for number in range(N_BATCHES)
    ]
    segments, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    copy_channels(encoder, recipe, wide, found, segments[:AT_ONCE])
    fit_projection(encoder, segments, labels[:, 2 : 2 + recipe.spec.dim])


def copy_channels(
    encoder: keras.Model, recipe: Recipe, wide: keras.Model, wide_recipe: Recipe, segments: FloatArray
) -> None:
    """Set the weights of an encoder, except its projection, to the most important channels of a wider one.

    Parameters
    ----------
    segments : (n, n_frames, n_mels) normalized; they decide which channels are important

    Raises
    ------
    ModelError
        The wider one is not as wide in some stage.
    """
    mine, theirs = _stages(encoder, recipe), _stages(wide, wide_recipe)
    if len(mine) != len(theirs) or not all(map(_fits, mine, theirs)):
        raise ModelError(
            f"the network of {wide_recipe.name} is smaller than that of {recipe.name}",
            "give a checkpoint of a network with as many stages that is at least as wide",
        )
    deviations = _deviations(wide, segments)
    before = np.zeros(1, dtype=np.int64)  # the network's input has one channel
    for number, (small, large) in enumerate(zip(mine, theirs, strict=True)):
        before = _copy_stage(small, large, before, _reader(theirs, number, wide), deviations)


def fit_projection(encoder: keras.Model, segments: FloatArray, targets: FloatArray) -> None:
    """Set the projection to the ridge regression from features to the teacher's embeddings.

    Source: Hoerl and Kennard, Ridge Regression, Technometrics 12, 1970.

    Parameters
    ----------
    segments : (n, n_frames, n_mels) normalized, clean and degraded
    targets : (n, dim) of unit norm
    """
    features = keras.Model(encoder.input, encoder.get_layer("flatten").output)
    # In training mode: the statistics of a pruned network are not those of its source.
    parts = np.split(segments, range(AT_ONCE, len(segments), AT_ONCE))
    rows = np.concatenate([_float32(features(part[..., None], training=True)) for part in parts])
    means, target_means = rows.mean(axis=0), targets.mean(axis=0)
    centred = (rows - means).astype(np.float64)
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    kernel = np.linalg.solve(gram, centred.T @ (targets - target_means)).astype(np.float32)
    encoder.get_layer("projection").set_weights([kernel, target_means - means @ kernel])


def _float32(values: Any) -> FloatArray:
    """Return a tensor as an array. NumPy sums bfloat16 in bfloat16, where sums soon stop growing."""
    return np.asarray(keras.ops.cast(values, "float32"))


def _stages(encoder: keras.Model, recipe: Recipe) -> list[_Stage]:
    """Return the parts of a residual encoder in the order in which they are built."""
    from overheard_train.encoders.layers import FusedBatchNorm

    found = [layer for layer in encoder.layers if isinstance(layer, keras.layers.Conv2D)]
    norms = [layer for layer in encoder.layers if isinstance(layer, FusedBatchNorm)]
    outputs = [layer for layer in encoder.layers if isinstance(layer, keras.layers.ReLU)]
    blocks = map(_Block, found, norms, outputs)
    options = recipe.encoder.options
    return [
        _Stage(next(blocks), [(next(blocks), next(blocks)) for _ in range(n)])
        for n in options.get("blocks", (1, 1, 1))
    ]


def _fits(small: _Stage, large: _Stage) -> bool:
    return bool(small.first.convolution.filters <= large.first.convolution.filters)


def _deviations(encoder: keras.Model, segments: FloatArray) -> dict[str, FloatArray]:
    """Return the standard deviation of each channel, by the name of the ReLU that it leaves."""
    layers = [layer for layer in encoder.layers if isinstance(layer, keras.layers.ReLU)]
    outputs = keras.Model(encoder.input, [layer.output for layer in layers])(segments[..., None])
    return {
        layer.name: _float32(values).std(axis=(0, 1, 2))
        for layer, values in zip(layers, outputs, strict=True)
    }


def _copy_stage(
    small: _Stage, large: _Stage, before: IntArray, reader: FloatArray, deviations: dict[str, FloatArray]
) -> IntArray:
    """Copy the most important channels of a stage, and return the numbers of those of its stream.

    Parameters
    ----------
    before : numbers of the channels that the stage reads
    reader : the kernel that reads the stage's stream
    """
    n_common = min(len(small.blocks), len(large.blocks))
    end = large.blocks[n_common - 1][1].output if n_common else large.first.output
    spread = deviations[end.name]
    stream = _most_important(spread * _norms(reader, len(spread)), small.first.convolution.filters)
    _set(small.first, large.first, before, stream)
    for (inner, outer), (wide_inner, wide_outer) in zip(small.blocks, large.blocks, strict=False):
        norms = _norms(wide_outer.convolution.get_weights()[0], wide_inner.convolution.filters)
        kept = _most_important(deviations[wide_inner.output.name] * norms, inner.convolution.filters)
        _set(inner, wide_inner, stream, kept)
        _set(outer, wide_outer, kept, stream)
    for _, outer in small.blocks[n_common:]:
        _begin_as_identity(outer)
    return stream


def _begin_as_identity(outer: _Block) -> None:
    """Let a residual block add nothing at first, by the scale of its last batch normalization."""
    scale, *others = outer.norm.get_weights()
    outer.norm.set_weights([np.zeros_like(scale), *others])


def _reader(stages: list[_Stage], number: int, encoder: keras.Model) -> FloatArray:
    """Return the kernel that reads a stage's stream."""
    last = number + 1 == len(stages)
    reader = encoder.get_layer("projection") if last else stages[number + 1].first.convolution
    kernel: FloatArray = reader.get_weights()[0]
    return kernel


def _norms(kernel: FloatArray, n_channels: int) -> FloatArray:
    """Return the norm of the weights that read each channel; the projection's rows end in the channel."""
    by_channel = kernel.reshape(-1, n_channels, kernel.shape[-1])
    norms: FloatArray = np.sqrt((by_channel**2).sum(axis=(0, 2)))
    return norms


def _most_important(importance: FloatArray, n: int) -> IntArray:
    return np.sort(np.argsort(-importance, kind="stable")[:n]).astype(np.int64)


def _set(small: _Block, large: _Block, inputs: IntArray, outputs: IntArray) -> None:
    kernel = large.convolution.get_weights()[0]
    small.convolution.set_weights([kernel[:, :, inputs][..., outputs]])
    small.norm.set_weights([values[outputs] for values in large.norm.get_weights()])

"""3x3 convolutions as 16 products of matrices: Winograd's F(2x2, 3x3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), section 4.1: tiles of
4x4 with a stride of 2 give 2x2 outputs each, with 16 products where the definition takes 36. The
kernel is transformed once, when a model is loaded.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)  # G
LARGE_SIDE = 40  # maps from it on are taken image by image: a batch of their tiles leaves caches


def transform(kernel):
    """Kernel [3, 3, in, out] -> G kernel G^T, [16, in, out]."""
    u = jnp.einsum("ai,ijco,bj->abco", KERNEL, kernel, KERNEL, precision="highest")
    return u.reshape(16, *kernel.shape[2:])


def convolve(x, transformed):
    """x [B, H, W, in] with what `transform` made of a kernel, one zero around -> [B, H, W, out]."""
    if min(x.shape[1:3]) < LARGE_SIDE or len(x) == 1:
        return _convolve(x, transformed)
    return lax.map(lambda image: _convolve(image[None], transformed)[0], x)


def _convolve(x, transformed):
    (b, h, w, c), out = x.shape, transformed.shape[-1]
    rows, columns = -(-h // 2), -(-w // 2)
    x = jnp.pad(x, ((0, 0), (1, 1 + h % 2), (1, 1 + w % 2), (0, 0)))
    # d[i][j]: the value at row i, column j of every tile, [B, rows, columns, in].
    d = [[x[:, i::2, j::2][:, :rows, :columns] for j in range(4)] for i in range(4)]
    v = _both_ways(_input, d)
    v = jnp.stack([tile.reshape(-1, c) for line in v for tile in line])
    m = jnp.einsum("atc,aco->ato", v, transformed)
    y = _both_ways(_output, [[m[4 * i + j] for j in range(4)] for i in range(4)])
    y = jnp.stack([jnp.stack(line, 1) for line in y], 1)
    y = y.reshape(b, rows, columns, 2, 2, out).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(b, 2 * rows, 2 * columns, out)[:, :h, :w]


def _both_ways(function, square):
    """M square M^T, where `function` is M times four arrays."""
    columns = [function(list(column)) for column in zip(*square, strict=True)]
    return [function(list(row)) for row in zip(*columns, strict=True)]


def _input(d):
    """B^T d of four arrays."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _output(m):
    """A^T m of four arrays."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]

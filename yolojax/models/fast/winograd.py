"""3x3 convolutions as 16 products of matrices: Winograd's F(2x2, 3x3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), section 4.1: tiles of
4x4 with a stride of 2 give 2x2 outputs each with 16 products, where the definition takes 36. Both
gradients take 16 too. docs/notes/performance_cpu.md has the figures.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LEAST_CHANNELS = 64  # of input and output; with fewer, computing tiles costs too much
LARGE_SIDE = 20  # side from which maps run image by image, so that tiles stay in the caches
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_BOTH_WAYS = np.kron(_G, _G)  # [16, 9]: flat kernel -> flat G kernel G^T


def transform(kernel):
    """Map a kernel [3, 3, in, out] to G kernel G^T, [16, in, out]."""
    chex.assert_shape(kernel, (3, 3, None, None))
    made = jnp.matmul(_BOTH_WAYS, kernel.reshape(9, -1), precision="highest")
    return made.reshape(16, *kernel.shape[2:])


def _pull_transform(gradient):
    """Map the gradient [16, in, out] of a transformed kernel to that of the kernel."""
    made = jnp.matmul(_BOTH_WAYS.T, gradient.reshape(16, -1), precision="highest")
    return made.reshape(3, 3, *gradient.shape[1:])


def convolve(x, transformed):
    """Convolve x [B, H, W, in], padded by 1, with a transformed kernel -> [B, H, W, out]."""
    if _at_once(x):
        return _convolve(x, transformed)
    return lax.map(lambda image: _convolve(image[None], transformed)[0], x)


@jax.custom_vjp
def convolve_in_training(x, kernel):
    """Convolve x [B, H, W, in], padded by 1, with kernel [3, 3, in, out] -> [B, H, W, out]."""
    return convolve(x, transform(kernel))


def _forward(x, kernel):
    transformed = transform(kernel)
    return convolve(x, transformed), (x, transformed)


def _backward(residuals, gradient):
    x, transformed = residuals
    pull = _pull if _at_once(x) else _pull_by_image
    back, total = pull(x, transformed, gradient)
    return back, _pull_transform(total)


convolve_in_training.defvjp(_forward, _backward)


def _at_once(x) -> bool:
    """Return whether the batch runs as a whole; with several devices a loop would gather it."""
    return min(x.shape[1:3]) < LARGE_SIDE or len(x) == 1 or jax.device_count() > 1


def _convolve(x, transformed):
    m = jnp.einsum("atc,aco->ato", _tiles(x), transformed)
    return _assemble(m, *x.shape[:3])


def _pull(x, transformed, gradient):
    """Compute the gradients of `_convolve`: of x and of the transformed kernel."""
    pulled = _pull_assemble(gradient)
    back = jnp.einsum("ato,aco->atc", pulled, transformed)
    return _pull_tiles(back, *x.shape[:3]), jnp.einsum("atc,ato->aco", _tiles(x), pulled)


def _pull_by_image(x, transformed, gradient):
    """Compute `_pull` image by image."""

    def add(total, pair):
        back, more = _pull(pair[0][None], transformed, pair[1][None])
        return total + more, back[0]

    total, back = lax.scan(add, jnp.zeros_like(transformed), (x, gradient))
    return back, total


def _tiles(x):
    """Compute B^T d B of the tiles of x [B, H, W, C]: [16, tiles, C]."""
    h, w = x.shape[1:3]
    return tiles_of(jnp.pad(x, ((0, 0), (1, 1 + h % 2), (1, 1 + w % 2), (0, 0))))


def tiles_of(padded):
    """Compute the tiles [16, B * rows * columns, C] of x [B, 2 * rows + 2, 2 * columns + 2, C]."""
    b, h, w, c = padded.shape
    x = padded.reshape(b, h // 2, 2, w // 2, 2, c)  # a tile is two pairs of rows, and of columns
    x = jnp.stack(_input([x[:, :-1, 0], x[:, :-1, 1], x[:, 1:, 0], x[:, 1:, 1]]))
    x = [x[:, :, :, :-1, 0], x[:, :, :, :-1, 1], x[:, :, :, 1:, 0], x[:, :, :, 1:, 1]]
    return jnp.stack(_input(x), 1).reshape(16, -1, c)


def _pull_tiles(v, b: int, h: int, w: int):
    """Map the gradient [16, tiles, C] of `_tiles` to that of x [b, h, w, C]."""
    v = v.reshape(4, 4, b, -(-h // 2), -(-w // 2), v.shape[-1])
    rows = _overlap(_pull_input(list(v)), 2)
    x = _overlap(_pull_input(list(rows)), 3)
    return x.reshape(b, h + 2 + h % 2, w + 2 + w % 2, -1)[:, 1 : h + 1, 1 : w + 1]


def _overlap(d, axis: int):
    """Sum four arrays with tiles along `axis` as pairs, along `axis` and a new axis after it.

    The first two arrays of a tile are the pair of its index, the others belong to the next pair.
    """
    ends, starts = ([(0, 0)] * d[0].ndim for _ in range(2))
    ends[axis], starts[axis] = (0, 1), (1, 0)
    pairs = [jnp.pad(d[i], ends) + jnp.pad(d[i + 2], starts) for i in range(2)]
    return jnp.stack(pairs, axis + 1)


def _assemble(m, b: int, h: int, w: int):
    """Compute A^T m A, the outputs [b, h, w, C], from m [16, tiles, C]."""
    rows, columns = -(-h // 2), -(-w // 2)
    y = jnp.stack([jnp.stack(line, 1) for line in zip(*outputs_of(m), strict=True)], 1)
    y = y.reshape(b, rows, columns, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(b, 2 * rows, 2 * columns, -1)[:, :h, :w]


def outputs_of(m):
    """Compute the outputs [tiles, C] of m [16, tiles, C]: for both columns those of both rows."""
    lines = zip(*(_output(list(line)) for line in m.reshape(4, 4, *m.shape[1:])), strict=True)
    return [_output(list(line)) for line in lines]


def _pull_assemble(y):
    """Map the gradient [B, H, W, C] of `_assemble` to that of m [16, tiles, C]."""
    b, h, w, c = y.shape
    y = jnp.pad(y, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    y = y.reshape(b, -(-h // 2), 2, -(-w // 2), 2, c)
    y = jnp.stack(_pull_output([y[:, :, 0], y[:, :, 1]]))
    return jnp.stack(_pull_output([y[:, :, :, :, 0], y[:, :, :, :, 1]]), 1).reshape(16, -1, c)


def _input(d):
    """Compute B^T d of four arrays."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _pull_input(v):
    """Compute B v of four arrays."""
    return [v[0], v[1] - v[2] + v[3], v[1] + v[2] - v[0], -v[3]]


def _output(m):
    """Compute A^T m of four arrays."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _pull_output(y):
    """Compute A y of two arrays."""
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]

"""The input pipeline of `input_pipeline.py` in tf.data."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from yolojax.config import AugmentConfig
from yolojax.data.records import Record
from yolojax.data.transforms import GREY, MIN_SIDE

VERSION = f"tensorflow {tf.__version__}"


def batches(
    records: list[Record], size: int, batch: int, places: int, threads: int
) -> Iterator[dict]:
    """Endless batches as those of `yolojax.data.pipeline.train_loader`.

    The records are drawn by number, as their order is not what is measured.
    """
    encoded = tf.constant([record.image for record in records])
    boxes = tf.ragged.constant([record.boxes for record in records], ragged_rank=1)
    labels = tf.ragged.constant([record.labels for record in records], ragged_rank=1)
    augment = AugmentConfig()

    def row(index):
        image, found = view(encoded[index], boxes[index], size, augment)
        return {"image": image, **padded(found, labels[index], places, augment)}

    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    data = tf.data.Dataset.range(len(records)).repeat().shuffle(len(records))
    data = data.map(row, num_parallel_calls=tf.data.AUTOTUNE)
    data = data.batch(batch, drop_remainder=True).prefetch(2)
    return iter(data.with_options(options).as_numpy_iterator())


def view(encoded, boxes, size: int, augment: AugmentConfig):
    """A JPEG and its boxes [n, 4] -> uint8 [size, size, 3], boxes in it, not clipped."""
    image = tf.io.decode_jpeg(encoded, channels=3)
    left, top, width, height = letterbox_jitter(tf.shape(image), size, augment.jitter)
    image = tf.image.resize(image, (height, width))  # float32
    exposure = factor(augment.exposure)
    image, grey = distort(image, exposure, augment), tf.saturate_cast(GREY * exposure, tf.uint8)
    margins = [[top, size - top - height], [left, size - left - width], [0, 0]]
    image = tf.pad(image, margins, constant_values=grey)
    place = tf.cast(tf.stack([left, top, left, top]), tf.float32)
    extent = tf.cast(tf.stack([width, height, width, height]), tf.float32)
    boxes = (boxes * extent + place) / size
    if tf.random.uniform(()) < augment.flip:
        image = tf.reverse(image, [1])
        boxes = tf.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
    return image, boxes


def letterbox_jitter(shape, size: int, jitter: float):
    """(left, top, width, height) in a square input, as `yolojax.data.transforms` draws them."""
    h, w = tf.cast(shape[0], tf.float32), tf.cast(shape[1], tf.float32)
    change = tf.random.uniform((2,), 1 - jitter, 1 + jitter)
    aspect = w * change[0] / (h * change[1])
    width = tf.cast(size * tf.minimum(aspect, 1), tf.int32)
    height = tf.cast(size / tf.maximum(aspect, 1), tf.int32)
    place = tf.random.uniform((2,))
    left = tf.cast(place[0] * tf.cast(size - width, tf.float32), tf.int32)
    top = tf.cast(place[1] * tf.cast(size - height, tf.float32), tf.int32)
    return left, top, width, height


def distort(image, exposure, augment: AugmentConfig):
    """float32 [h, w, 3] in 0..255 -> uint8: hue, saturation and exposure changed in HSV.

    By the two fused operations, which take half the time of `rgb_to_hsv` and `hsv_to_rgb`.
    """
    image = tf.image.adjust_hue(image, tf.random.uniform((), -augment.hue, augment.hue))
    image = tf.image.adjust_saturation(image, factor(augment.saturation))
    return tf.saturate_cast(image * exposure, tf.uint8)


def factor(limit: float):
    """A factor between 1 and `limit`, or as often its inverse."""
    found = tf.random.uniform((), 1, limit)
    return tf.where(tf.random.uniform(()) < 0.5, found, 1 / found)


def padded(boxes, labels, places: int, augment: AugmentConfig):
    """The visible boxes, in `places` places."""
    boxes = tf.clip_by_value(boxes, 0, 1)
    visible = tf.reduce_all(boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE[augment.geometry], axis=1)
    boxes, labels = boxes[visible][:places], labels[visible][:places]
    missing = places - tf.shape(boxes)[0]
    return {
        "boxes": tf.ensure_shape(tf.pad(boxes, [[0, missing], [0, 0]]), (places, 4)),
        "labels": tf.ensure_shape(tf.pad(labels, [[0, missing]]), (places,)),
        "mask": np.arange(places) < tf.shape(boxes)[0],
    }

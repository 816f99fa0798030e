"""From rows to batches: threads, read-ahead and bad records. Grain does the work."""

import hashlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping

import grain
import numpy as np

from yolojax.data.records import BadRecord, check_on_bad_record, load_record

Batch = dict[str, np.ndarray]
Handler = Callable[[BadRecord], None]  # returns if the record is to be skipped


def fingerprint(batch: Mapping[str, np.ndarray]) -> str:
    """Hash a batch to 12 hexadecimal digits; every name, type, shape and value counts."""
    digest = hashlib.sha256()
    for name in sorted(batch):
        array = np.ascontiguousarray(batch[name])
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


def row_digests(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """Compute the `fingerprint` of each row of a batch, uint8 [b, 6].

    The digests of all hosts together do not depend on the number of hosts.
    """
    names = [fingerprint({k: v[i] for k, v in batch.items()}) for i in range(_length(batch))]
    return np.frombuffer(bytes.fromhex("".join(names)), np.uint8).reshape(len(names), -1)


def _length(batch):
    return len(next(iter(batch.values())))


def batches(
    row: Callable[[int], Batch], first, last, batch_size, host, hosts, threads
) -> Iterator[Batch]:
    """Yield this host's part of the global batches `first` to `last` (exclusive; None: no end).

    Global batch t has the rows t * batch_size, ...; host h gets the h-th run of them.
    """
    share = batch_size // hosts

    def local_row(k):
        batch, index = divmod(k, share)
        return row(batch * batch_size + host * share + index)

    stop = sys.maxsize if last is None else last * share
    rows = grain.MapDataset.range(first * share, stop).map(local_row)
    ahead = max(2 * share, threads) if threads else 0
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    return _until_closed(rows.to_iter_dataset(options).batch(share, drop_remainder=True))


def _until_closed(dataset):
    iterator = iter(dataset)
    try:
        yield from iterator
    finally:  # ends the threads if the caller stops early too
        iterator.close()


def read_good(source, index, on_bad):
    """Read record `index`, or the next readable one if `on_bad` skips it -> (index, Record, image).

    The boxes are those of the upright image; see `records.upright_record`.

    Raises:
        BadRecord: `on_bad` raises, or no record of `source` is readable.
    """
    for candidate in range(index, index + len(source)):
        candidate %= len(source)
        try:
            return candidate, *load_record(source[candidate])
        except BadRecord as error:
            on_bad(error)
    raise BadRecord(f"{source.name}: none of its {len(source)} pictures can be read.")


def refuse(error: BadRecord):
    """Raise every bad record; a Handler."""
    raise error


def handler(source, on_bad_record) -> Handler:
    """Choose the handler: "error" raises a bad record, "skip" warns once about each."""
    known, lock = set(), threading.Lock()

    def warn(error):
        with lock:
            is_new = str(error) not in known
            known.add(str(error))
            number = len(known)
        if is_new:
            message = f"{source.name}: skipped, bad record number {number}: {error}"
            warnings.warn(message, stacklevel=2)

    return warn if on_bad_record == "skip" else refuse


def check(source, batch_size, host, hosts, threads, on_bad_record):
    """Raise ValueError if an argument of a loader is out of its range."""
    if not len(source):
        raise ValueError(f"{source.name} has no records; check its split and directory.")
    if not 0 <= host < hosts:
        raise ValueError(f"host must be in 0..hosts - 1, got host {host} of {hosts}.")
    if batch_size < 1 or batch_size % hosts:
        raise ValueError(f"batch_size must be a multiple of hosts ({hosts}), got {batch_size}.")
    if threads < 0:
        raise ValueError(f"threads must be at least 0, got {threads}.")
    check_on_bad_record(on_bad_record)

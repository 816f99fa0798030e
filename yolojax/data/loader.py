"""How rows become batches: threads, read-ahead and bad records. Grain does the work."""

import hashlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping

import grain
import numpy as np

from yolojax.data.records import BadRecord, load_image

Batch = dict[str, np.ndarray]
Handler = Callable[[BadRecord], None]  # returns where the record is to be passed over


def fingerprint(batch: Mapping[str, np.ndarray]) -> str:
    """12 hexadecimal digits that differ as soon as any name, type, shape or value does."""
    digest = hashlib.sha256()
    for name in sorted(batch):
        array = np.ascontiguousarray(batch[name])
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


def row_digests(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """uint8 [b, 6], the `fingerprint` of each row of a batch.

    Those of all hosts together do not depend on how many hosts there are.
    """
    names = [fingerprint({k: v[i] for k, v in batch.items()}) for i in range(_length(batch))]
    return np.frombuffer(bytes.fromhex("".join(names)), np.uint8).reshape(len(names), -1)


def _length(batch):
    return len(next(iter(batch.values())))


def batches(
    row: Callable[[int], Batch], first, last, batch_size, host, hosts, threads
) -> Iterator[Batch]:
    """This host's part of the global batches `first` up to `last` (None: for ever).

    The global batch t is made of the rows t * batch_size ...; host h has the h-th run of them.
    """
    share = batch_size // hosts

    def local_row(k):
        batch, place = divmod(k, share)
        return row(batch * batch_size + host * share + place)

    stop = sys.maxsize if last is None else last * share
    rows = grain.MapDataset.range(first * share, stop).map(local_row)
    ahead = max(2 * share, threads) if threads else 0
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    return _until_closed(rows.to_iter_dataset(options).batch(share, drop_remainder=True))


def _until_closed(dataset):
    iterator = iter(dataset)
    try:
        yield from iterator
    finally:  # also where the caller stops early: the threads end with the generator
        iterator.close()


def read_good(source, index, on_bad):
    """(index, Record, picture) of record `index` or, where `on_bad` lets it pass, of the next."""
    for candidate in range(index, index + len(source)):
        candidate %= len(source)
        try:
            record = source[candidate]
            return candidate, record, load_image(record)
        except BadRecord as error:
            on_bad(error)
    raise BadRecord(f"{source.name}: none of its {len(source)} pictures can be read.")


def refuse(error: BadRecord):
    """The Handler that lets nothing pass."""
    raise error


def handler(source, on_bad_record) -> Handler:
    """What to do with a BadRecord: raise it, or warn the first time that it is met."""
    met, lock = set(), threading.Lock()

    def note(error):
        with lock:
            known = str(error) in met
            met.add(str(error))
        if not known:
            message = f"{source.name}: left out, the {len(met)}. bad record so far: {error}"
            warnings.warn(message, stacklevel=2)

    return note if on_bad_record == "skip" else refuse


def check(source, batch_size, host, hosts, threads, on_bad_record):
    """Raises ValueError where a loader's argument is out of its range."""
    if not len(source):
        raise ValueError(f"{source.name} has no records; check its split and directory.")
    if not 0 <= host < hosts:
        raise ValueError(f"host must be in 0..hosts - 1, got host {host} of {hosts}.")
    if batch_size < 1 or batch_size % hosts:
        raise ValueError(f"batch_size must be a multiple of hosts ({hosts}), got {batch_size}.")
    if threads < 0:
        raise ValueError(f"threads must be at least 0, got {threads}.")
    if on_bad_record not in ("error", "skip"):
        raise ValueError(f'on_bad_record must be "error" or "skip", got {on_bad_record!r}.')

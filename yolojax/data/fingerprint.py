"""A fingerprint of a data set, so that a run notices when its annotations change."""

import hashlib
from typing import Any

from yolojax.data.joint import JointSource
from yolojax.data.parsing import RecordList
from yolojax.data.records import Record, Source
from yolojax.data.sources.load import ConcatenatedSource
from yolojax.data.tree_labels import MappedSource


def fingerprint_of(source: Source | JointSource) -> dict[str, Any]:
    """Return {"pictures", "boxes", "digest"} of `source` without opening a picture.

    The digest is of the names and stated sizes of the pictures and of all annotations, in their
    order. Where records are not in memory, it is of what names their version, and `boxes` is None.
    """
    digest = hashlib.blake2b(digest_size=8)
    boxes = [_add(digest, part) for part in _parts(source)]
    return {
        "pictures": len(source),
        "boxes": None if None in boxes else sum(boxes),
        "digest": digest.hexdigest(),
    }


def _parts(source: Source | JointSource) -> list[Source]:
    if isinstance(source, JointSource):
        return [*_parts(source.boxes), *_parts(source.labels)]
    return list(source.parts) if isinstance(source, ConcatenatedSource) else [source]


def _add(digest, source: Source) -> int | None:
    """Add a data set to `digest` -> its number of boxes, or None."""
    digest.update(f"{len(source)} records\n".encode())
    if isinstance(source, MappedSource):
        digest.update(f"nodes {source.nodes}\n".encode())
        boxes = [_add(digest, part) for part in _parts(source.source)]
        return None if None in boxes else sum(boxes)
    if not isinstance(source, RecordList):
        digest.update((getattr(source, "version", "") or source.name).encode())
        return None
    for record in source.records:
        digest.update(_bytes_of(record))
    return sum(len(record.boxes) for record in source.records)


def _bytes_of(record: Record) -> bytes:
    head = f"{record.image_id}\0{record.label}\0{record.size}\0{len(record.boxes)}\0"
    arrays = record.boxes, record.labels, record.difficult, record.crowd, record.area
    return head.encode(errors="surrogatepass") + b"".join(a.tobytes() for a in arrays)

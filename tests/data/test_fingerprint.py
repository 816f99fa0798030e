import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from yolojax.data.fingerprint import fingerprint_of
from yolojax.data.joint import JointSource
from yolojax.data.parsing import RecordList, make_record
from yolojax.data.sources.load import ConcatenatedSource, load_source
from yolojax.data.tree_labels import MappedSource


def record(name, *boxes, **more):
    return make_record(
        name, Path(f"missing/{name}.jpg"), (100, 50), boxes, [0] * len(boxes), **more
    )


ONE, TWO = record("a", (10, 10, 30, 30)), record("b", (0, 0, 20, 10), (5, 5, 50, 50))


def listed(*records, name="x"):
    return RecordList(name, ("cat", "dog"), records)


def digest(*records):
    return fingerprint_of(listed(*records))["digest"]


def test_the_same_records_have_the_same_fingerprint_wherever_they_are():
    first = fingerprint_of(listed(ONE, TWO))
    moved = listed(ONE._replace(image=Path("elsewhere/a.jpg")), TWO, name="voc:elsewhere")
    assert first == fingerprint_of(moved)
    assert (first["pictures"], first["boxes"]) == (2, 3)
    assert json.loads(json.dumps(first)) == first


@pytest.mark.parametrize(
    "other",
    [
        ONE._replace(image_id="c"),
        ONE._replace(boxes=ONE.boxes + np.float32(0.01)),
        ONE._replace(labels=ONE.labels + 1),
        ONE._replace(difficult=~ONE.difficult),
        ONE._replace(crowd=~ONE.crowd),
        ONE._replace(label=1),
        ONE._replace(size=(640, 480)),
        record("a"),
    ],
)
def test_every_part_of_an_annotation_counts(other):
    assert digest(other, TWO) != digest(ONE, TWO)


def test_pictures_that_are_missing_added_or_in_another_order_count():
    all_digests = [digest(ONE), digest(ONE, TWO), digest(TWO, ONE), digest(ONE, TWO, TWO)]
    assert len(set(all_digests)) == 4


def test_the_parts_of_joined_sources_count():
    joined = ConcatenatedSource("x+y", ("cat", "dog"), (listed(ONE), listed(TWO)))
    assert fingerprint_of(joined)["boxes"] == 3
    other = replace(joined, parts=(listed(ONE), listed(ONE)))
    assert fingerprint_of(other) != fingerprint_of(joined)
    mapped, swapped = (MappedSource(joined, ("n0", "n1"), nodes) for nodes in ((0, 1), (1, 0)))
    assert fingerprint_of(mapped) != fingerprint_of(swapped)
    labelled = listed(ONE._replace(label=1))
    both = fingerprint_of(JointSource(joined, labelled, (4, 1)))
    assert (both["pictures"], both["boxes"]) == (3, 4)


def test_a_source_that_reads_on_access_is_named_by_its_version():
    drawn = load_source("shapes:val")
    assert fingerprint_of(drawn) == fingerprint_of(load_source("shapes:val"))
    assert fingerprint_of(drawn)["boxes"] is None
    assert fingerprint_of(drawn) != fingerprint_of(load_source("shapes:train"))


def test_a_file_name_that_is_no_text_has_a_fingerprint():
    assert digest(ONE._replace(image_id="a\udcff")) != digest(ONE)

"""A few seconds of tests/fuzz.py, with fixed seeds; 10^6 inputs are run by hand."""

import fuzz
import pytest
from fuzz_data import Format
from mutations import mutate_bytes

INPUTS = 120  # of each format
FEWER = {"data.yaml": 60, "checkpoint with checksums": 25, "checkpoint without": 12}


@pytest.mark.parametrize("group", fuzz.GROUPS, ids=lambda group: group.__name__)
def test_changed_files_are_read_or_refused_in_one_line(group, tmp_path):
    folder = tmp_path / f"{fuzz.FOLDER}0"
    for name, form in group(folder).items():
        outcome = fuzz.fuzz(form, FEWER.get(name, INPUTS), seed=1)
        assert not outcome.failures, f"{name}: {list(outcome.failures)}"
        assert outcome.accepted >= len(form.seeds), name


def test_a_failure_is_found(tmp_path):
    file = tmp_path / f"{fuzz.FOLDER}0"
    faults = {
        "KeyError": lambda: {}["x"],
        "hang": lambda: [None for _ in iter(int, 1)],
        "no file named": lambda: int("x"),
        "wrong success": lambda: "read",
    }
    for what, read in faults.items():
        form = Format((b"a",), mutate_bytes, file, read, lambda result, data: result)
        (failure,) = fuzz.fuzz(form, 1, seed=0).failures
        assert failure.startswith(what)

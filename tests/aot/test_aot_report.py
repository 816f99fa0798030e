"""Rows made of plain numbers, for a chip that does one operation a second."""

import json

import jax
import pytest

from yolojax.aot import check, report
from yolojax.aot.check import Row, advice, for_topology
from yolojax.aot.compiler import Facts
from yolojax.aot.hlo import Collective, Costs
from yolojax.aot.programs import Program
from yolojax.aot.topologies import Topology
from yolojax.config import Config
from yolojax.distributed.chips import Chip
from yolojax.distributed.sharding import make_mesh

CHIP = Chip("toy", 1e12, 1e12, 2**30, hbm_bandwidth=1e9, link_bandwidth=1e9, clock=1e6)
MEMORY = {"arguments": 2**28, "outputs": 0, "shared": 0, "temporary": 2**28, "code": 0, "peak": 0}
COSTS = Costs(2_000_000, 2_000_000, 0, 0, (Collective("all-reduce", 8, 3, 4_000_000),))
FACTS = Facts(12.0, MEMORY, 1e12, 5e8, COSTS)


def narrow():
    config = Config()
    config.model.name, config.model.width = "yolov2_tiny_voc", 0.0625
    config.model.classes, config.model.anchors = ("cat",), ((1.0, 1.0),)
    config.data.image_size, config.optimizer.batch_size = (32, 32), 64
    return config


def row(facts=FACTS, name="train 32x32", devices=8):
    topology = Topology(f"toy:{devices}", CHIP, make_mesh(jax.devices()[:devices]))
    return Row(topology, Program(name, None, 8, 5e11), narrow(), facts)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_needs_and_times_in_one_line_each():
    assert report.needs(row()) == [
        *("toy:8", "train 32x32", "8", "0.50", "50 %", "1.000", "0.50", "2.0"),
        *("0.00", "250.0", "3 all-reduce", "4.0"),
    ]
    assert report.durations(row()) == [
        *("toy:8", "train 32x32", "1000.00", "500.00", "7.00", "2000.00", "compute"),
        *("4 - 8", "32 - 64", "24.9 - 50.0"),  # 8 images in 2.007 s or in 1 s, on 8 devices
    ]


def test_cycles_of_an_image_have_a_guess_for_what_is_not_estimated():
    scattering = row(FACTS._replace(costs=COSTS._replace(scatter_bytes=480_000_000)))
    assert report.needs(scattering)[7:10] == ["2.0", "0.48", "500.0"]  # 2 million at 240 bytes
    assert report.as_json([scattering])["rows"][0]["adjusted_cycles"] == 4e6


def test_text_is_two_tables_and_a_note_that_nothing_ran():
    text = report.as_text([row()])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert cells(lines[0])[3:5] == ["HBM GiB", "of chip"]
    assert len(lines) == 6
    assert "nothing ran on hardware" in text
    assert "*" not in text


def test_scaling_compares_the_rates_of_a_chip():
    alone = row(FACTS._replace(costs=COSTS._replace(collectives=())), devices=1)
    assert report.scaling([alone, row()]) == [
        ["1", "8", "2000.00", "0.00", "0.0 %", "4", "100.0 %"],
        ["8", "64", "2007.00", "7.00", "0.3 %", "32", "99.7 %"],
    ]
    assert "Scaling of train 32x32" in report.as_text([alone, row()])
    assert "Scaling" not in report.as_text([row()])


def test_loops_of_unknown_length_have_no_rate():
    open_loop = row(FACTS._replace(costs=COSTS._replace(open_loops=1)), "eval detect 32x32")
    text = report.as_text([open_loop])
    assert "eval detect 32x32*" in text
    assert "count one iteration" in text
    assert report.durations(open_loop)[-1] == ""


def test_what_was_refused_has_no_times():
    refused = row(Facts(1.0, {}, refused="needs 4.00G of 0.98G"))
    text = report.as_text([refused])
    assert "| 4.00 | 400 % | does not fit |" in " ".join(text.split())
    assert "Milliseconds" not in text
    assert not refused.fits


def test_json_has_all_numbers():
    first, second = json.loads(
        json.dumps(report.as_json([row(), row(Facts(1.0, {}, refused="so"))]))
    )["rows"]
    assert (first["fits"], first["hbm_used"], first["chips"]) == (True, 2**29, 8)
    assert first["seconds"] == pytest.approx(
        {"compute": 1.0, "hbm": 0.5, "link": 0.007, "cycles": 2.0, "compiled": 2.007, "best": 1.0}
    )
    assert first["mfu"] == pytest.approx([0.5 / 2.007, 0.5])
    assert (second["fits"], second["refused"], "seconds" in second) == (False, "so", False)


def test_advice_names_the_program_its_need_and_ways_out():
    text = advice(row(Facts(1.0, {}, refused="needs 4.00G of 0.98G")))
    assert text.startswith(
        "train 32x32 does not fit the memory of a chip of toy:8: it needs 4.00 GiB of 0.98."
    )
    assert "--config.optimizer.subdivisions=8 (gradients accumulate over 1 images" in text
    assert "--batch-per-device 1;" in text


def test_advice_on_an_evaluation_and_where_nothing_is_known():
    large = row(FACTS._replace(memory=MEMORY | {"temporary": 2**31}), "eval network 32x32")
    assert "Lower config.eval.batch_size (16)" in advice(large)
    assert "smaller --batch-per-device" in advice(row(Facts(1.0, {}, refused="RESOURCE_EXHAUSTED")))


def test_batches_grow_with_the_topology():
    topology = row().topology
    assert for_topology(narrow(), topology, 4).optimizer.batch_size == 32
    assert for_topology(narrow(), topology, None).optimizer.batch_size == 64


def test_a_batch_that_cannot_be_split_over_the_chips_is_an_error():
    config = for_topology(narrow(), row().topology, 3)
    config.optimizer.subdivisions = 2
    rows = check.check(config, row().topology, parts=["train"], sizes=[(32, 32)], cache=None)
    with pytest.raises(ValueError, match=r"is 24, with subdivisions 2.* --batch-per-device N"):
        next(rows)


def test_the_second_time_nothing_is_compiled(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(check.compiler.metadata, "version", lambda name: "1")
    calls = []

    def compile_for(lowered, devices):
        calls.append(devices)
        return FACTS

    monkeypatch.setattr(check.compiler, "compile_for", compile_for)
    given = {"parts": ("train", "eval"), "sizes": [(32, 32)], "cache": tmp_path}
    first, second, third = (
        list(check.check(narrow(), row().topology, **given, force=force))
        for force in (False, False, True)
    )
    assert [r.program.name.split()[0] for r in first] == ["train", "eval", "eval"]
    assert [r.facts for r in first] == [r.facts for r in second] == [r.facts for r in third]
    assert calls == [8] * 6
    told = capsys.readouterr().err
    assert "toy:8 train 32x32: from the cache (it took 12 s)" in told
    assert told.count("compiling") == 6

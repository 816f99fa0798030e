"""Goodput, rates, compilations and traces without a run; test_run.py has runs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import monitoring

from configs.quickstart import get_config
from yolojax.distributed import chips
from yolojax.distributed.sharding import make_mesh
from yolojax.tasks import build, forward_flops
from yolojax.training import goodput, profiling
from yolojax.training.compilation import Compilation, compile_totals, record_compilations
from yolojax.training.metrics import RunLog
from yolojax.training.profiling import Window


def events(*entries):
    """Events from (time, event, step) or (time, event, step, input)."""
    names = ("time", "event", "step", "input")
    return [dict(zip(names, entry, strict=False)) for entry in entries]


FIRST = ((100, "start", 0), (103, "setup", 0), (110, "compile", 0), (150, "training", 20, 4))
ZEROS = dict.fromkeys(goodput.PARTS, 0.0)


def test_the_seconds_of_one_start():
    seconds = goodput.seconds_by_part(
        events(*FIRST, (155, "evaluation", 20), (157, "checkpoint", 20))
    )
    assert seconds == ZEROS | {
        "other": 3, "compile": 7, "training": 36, "input": 4, "evaluation": 5, "checkpoint": 2,
    }  # fmt: skip
    assert goodput.goodput(seconds) == 36 / 57


def test_steps_that_are_repeated_are_lost():
    """Killed after 190 with 20 steps saved; started again at 230."""
    again = ((230, "start", 20), (233, "setup", 20), (240, "compile", 20))
    repeated = (280, "training", 40, 0)
    seconds = goodput.seconds_by_part(events(*FIRST, (190, "training", 40, 10), *again, repeated))
    assert seconds["lost"] == 40  # from 150 to 190, with the waiting for input
    assert seconds["down"] == 40
    assert (seconds["training"], seconds["input"]) == (36 + 40, 4)
    assert (seconds["other"], seconds["compile"]) == (3 + 3, 7 + 7)
    assert sum(seconds.values()) == 280 - 100


def test_a_part_of_a_span_is_lost():
    """40 s for 20 steps, of which the first 5 are in the checkpoint."""
    seconds = goodput.seconds_by_part(events(*FIRST, (200, "start", 5)))
    assert seconds["lost"] == 30
    assert (seconds["training"], seconds["input"]) == (9, 1)


def test_steps_lost_twice_count_twice():
    again = ((200, "start", 0), (210, "training", 8, 0), (220, "start", 4))
    seconds = goodput.seconds_by_part(events(*FIRST, *again))
    assert seconds["lost"] == 40 + 5
    assert seconds["training"] == 5


def test_compilations_of_the_setup_count_as_compile():
    (start, setup), entry = events((0, "start", 0), (10, "setup", 0)), {"compile_seconds": 7.5}
    assert goodput.seconds_by_part([start, setup | entry]) == ZEROS | {
        "compile": 7.5,
        "other": 2.5,
    }


def test_a_clock_set_back_and_no_events():
    assert goodput.seconds_by_part(events((100, "start", 0), (90, "setup", 0))) == ZEROS
    assert goodput.seconds_by_part([]) == ZEROS
    assert goodput.goodput(ZEROS) == 0


def test_an_unfinished_line_is_skipped(tmp_path):
    assert goodput.read_events(tmp_path) == []
    goodput.record_event(tmp_path, "start", 0, at=5.0)
    with (tmp_path / goodput.FILE).open("a") as file:
        file.write('{"time": 6.0, "eve')
    goodput.record_event(tmp_path, "start", 0, at=7.0, more=1)
    assert goodput.read_events(tmp_path) == [
        {"time": 5.0, "event": "start", "step": 0},
        {"time": 7.0, "event": "start", "step": 0, "more": 1},
    ]


def test_damaged_numbers_of_an_event_count_as_none():
    first, *rest = events((0, "start", 0), (1, "setup", 0), (5, "training", 4))
    rest = [one | {"input": "x", "compile_seconds": None} for one in rest]
    seconds = goodput.seconds_by_part([first, *rest])
    assert seconds == ZEROS | {"other": 1.0, "training": 4.0}


def test_an_older_run_continues_its_ledger(tmp_path):
    entry = {"time": 5.0, "event": "start", "step": 0}
    (tmp_path / "ledger.jsonl").write_text(json.dumps(entry) + "\n")
    goodput.record_event(tmp_path, "setup", 0, at=6.0)
    assert goodput.read_events(tmp_path) == [entry, {"time": 6.0, "event": "setup", "step": 0}]
    assert not (tmp_path / "goodput.jsonl").exists()


def test_the_report_has_two_lines():
    text = goodput.format_goodput(ZEROS | {"training": 90.0, "compile": 10.0, "down": 200.0})
    assert text.splitlines() == [
        "goodput 30.0%: 90.0 s of training in 5.0 min since the first start",
        "  the rest: compile 10.0 s, down 3.3 min",
    ]


def test_the_parts_of_a_step():
    """Ten steps of 8 images in 10 s, of which 2 s wait for a batch and 5 s for the device."""
    found = profiling.rates(Window(100.0, steps=10, input=2.0, device=5.0), 110.0, 8)
    assert found == {
        "train/images_per_sec": 8.0, "train/input_wait": 0.2, "train/step_ms": 1000.0,
        "train/input_ms": 200.0, "train/device_ms": 500.0, "train/host_ms": 300.0,
    }  # fmt: skip
    assert profiling.rates(Window(100.0, steps=10, min_seconds=4.0), 110.0, 8)["train/mfu"] == 0.4


def test_the_minimum_time_of_a_step_is_three_forward_passes_at_the_peak(monkeypatch):
    config = get_config("smoke")
    config.model.dtype = "bfloat16"
    task, mesh = build(config), make_mesh(jax.devices()[:2])
    assert profiling.min_step_seconds(task, config, mesh) == {}  # unknown for a CPU
    monkeypatch.setitem(chips.KINDS, "cpu", "v5e")
    (found,) = profiling.min_step_seconds(task, config, mesh).items()
    assert found == (
        (128, 128),
        pytest.approx(3 * 8 * forward_flops(task, (128, 128)) / 2 / 197e12),
    )


def test_the_operations_of_yolov2_equal_those_of_darknet():
    from configs.yolov2_voc import get_config

    assert forward_flops(build(get_config()), (416, 416)) == pytest.approx(29.360e9, rel=1e-4)


def test_memory_of_the_fullest_device_or_none():
    class Device:
        def __init__(self, peak):
            self.stats = peak and {"peak_bytes_in_use": peak, "bytes_limit": 16e9}

        def memory_stats(self):
            return self.stats

    assert profiling.device_memory([Device(None)]) == {}
    assert profiling.device_memory([Device(2e9), Device(3e9)]) == {
        "hbm_peak_gb": 3.0,
        "hbm_limit_gb": 16.0,
    }


def test_the_planned_memory_includes_the_arguments():
    x = jnp.ones((1000, 1000))
    planned = profiling.planned_bytes(jax.jit(lambda x: x @ x).lower(x).compile())
    assert planned >= 2 * x.nbytes


def test_compilations_are_counted_by_name():
    with record_compilations() as compiled:
        jax.block_until_ready(jax.jit(lambda x: jnp.cos(x) * 3.25)(np.ones(7)))
    assert any("lambda" in compilation.name for compilation in compiled)
    assert compile_totals(compiled)["compilations"] == len(compiled)
    before = len(compiled)
    jax.block_until_ready(jax.jit(lambda x: jnp.cos(x) * 3.5)(np.ones(7)))
    assert len(compiled) == before  # after the block


def test_listeners_may_be_cleared_by_others():
    with record_compilations():
        monitoring.clear_event_listeners()


BATCH = {"image": np.zeros((8, 64, 64, 3), np.uint8)}
NUMBERS = {"loss": 1.0, "grad_norm": 1.0}


def run_log(tmp_path, **more):
    config = get_config("smoke")
    config.log_every = 1
    mesh = make_mesh(jax.devices()[:1])
    return RunLog(tmp_path, config, 0, 0, 4, mesh=mesh, broken=tmp_path, **more)


def test_a_compilation_during_the_run_is_warned_of_once(tmp_path, capsys):
    compiled = [Compilation("jit(train_step)", 9.0)]
    with run_log(tmp_path, compiled=compiled) as log:
        log.step(1, 8, NUMBERS, BATCH)
        log.flush()
        assert "warning" not in capsys.readouterr().err
        compiled += [Compilation("jit(shape)", 1.5), Compilation("jit(shape)", 0.5)]
        for step in (2, 3):
            log.step(step, 8 * step, NUMBERS, BATCH)
        log.flush()
    error = capsys.readouterr().err
    assert error.count("warning") == 1
    assert "by step 2 2 more program(s) were compiled during the run, in 2.0 s: jit(shape)" in error


def test_compilations_of_a_checkpoint_cause_no_warning(tmp_path, capsys):
    compiled = []
    with run_log(tmp_path, compiled=compiled) as log:
        compiled.append(Compilation("jit(slice)", 0.1))
        log.record_event("checkpoint", 3)
        assert "warning" not in capsys.readouterr().err
        compiled.append(Compilation("jit(decode)", 0.1))
        log.record_event("evaluation", 3)
    assert "in 0.1 s: jit(decode)" in capsys.readouterr().err


def test_mfu_follows_the_sizes_of_the_batches(tmp_path):
    with run_log(tmp_path, min_seconds={(64, 64): 0.25}) as log:
        log.window.begin -= 100  # seconds ago
        log.step(1, 8, NUMBERS, BATCH)
        log.flush()
    (line,) = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert line["train/mfu"] == pytest.approx(0.0025, rel=0.05)


@pytest.mark.parametrize(("ready", "idle"), [(True, True), (False, False)])
def test_only_a_wait_with_idle_devices_counts(ready, idle, tmp_path):
    class Number:
        def is_ready(self):
            return ready

    with run_log(tmp_path) as log:
        log.running = (1, 8, {"loss": Number()}, BATCH)
        log.next_batch(iter([BATCH]))
        assert log.window.input > 0
        assert (log.idle > 0) == idle


@pytest.mark.parametrize("text", ["3", "3:", ":4", "5:4", "0:4", "-1:4", "a:b", "3-4", "1:2:3"])
def test_invalid_steps_to_trace_are_refused(text):
    with pytest.raises(ValueError, match=r"--profile-steps is .*; it must be two steps FIRST:LAST"):
        profiling.parse_steps(text)


def test_steps_to_trace():
    assert profiling.parse_steps("20:25") == (20, 25)
    assert profiling.parse_steps(None) is None


def test_steps_after_the_end_are_refused_and_steps_done_are_reported(capsys):
    profiling.check_steps(None, 0, 10)
    profiling.check_steps((9, 10), 0, 10)
    with pytest.raises(ValueError, match="is 9:11, but the run ends with step 10; name steps up"):
        profiling.check_steps((9, 11), 0, 10)
    assert not capsys.readouterr().out
    profiling.check_steps((2, 3), 3, 10)
    assert "step 3 is done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("done", "traced"), [(0, [2, 3, 4]), (2, [3, 4]), (3, [4]), (4, []), (9, [])]
)
def test_a_resumed_run_traces_the_remaining_steps(done, traced, tmp_path, monkeypatch, capsys):
    on, seen = [], []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda _: on.append(1))
    monkeypatch.setattr(jax.profiler, "stop_trace", on.clear)
    with profiling.profiled((2, 4), tmp_path, done) as trace:
        for step in range(done + 1, 12):
            seen += [step] * len(on)
            trace(step, {})
    assert seen == traced
    assert capsys.readouterr().out.count("a trace to step 4") == bool(traced)


def test_a_trace_ends_with_the_run(tmp_path, monkeypatch):
    on = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda _: on.append(1))
    monkeypatch.setattr(jax.profiler, "stop_trace", on.clear)
    with profiling.profiled((1, 4), tmp_path, 0) as trace:
        trace(1, {})
        assert on
    assert not on

"""Failures that the heartbeat finds; training/test_host_failures.py has real processes."""

import jax
import pytest

from yolojax.distributed import heartbeat
from yolojax.distributed.heartbeat import Heartbeat


def three(process=1, **fields):
    """Process 1 of three; all sent a heartbeat at time 100."""
    heard = dict.fromkeys(range(3), 100.0)
    beats = {i: f"host node{i}, pid {i}0|7" for i in range(3)}
    return Heartbeat(None, "node0:1", process, 3, beats=beats, heard=heard, **fields)


def test_no_failure_while_all_send_heartbeats():
    assert heartbeat.find_failure(three(), 100 + heartbeat.TIMEOUT) is None


def test_a_process_without_heartbeats_is_named():
    state = three()
    heartbeat.record_beats(state, {0: "host node0, pid 00|8", 1: "host node1, pid 10|8"}, now=110)
    assert heartbeat.find_failure(state, 100 + heartbeat.TIMEOUT) is None
    process, reason = heartbeat.find_failure(state, 101 + heartbeat.TIMEOUT)
    assert process == 2
    assert f"no heartbeat for {heartbeat.TIMEOUT + 1:.0f} s" in reason
    assert heartbeat.describe(state, 2) == "process 2 of 3 (host node2, pid 20)"


def test_a_repeated_heartbeat_does_not_count():
    state = three()
    heartbeat.record_beats(state, {2: "host node2, pid 20|7"}, now=110)
    assert state.heard[2] == 100


def test_process_0_is_lost_if_our_own_heartbeats_are_missing():
    state = three(process=1)
    heartbeat.record_beats(state, {2: "host node2, pid 20|8"}, now=130)
    assert heartbeat.find_failure(state, 101 + heartbeat.TIMEOUT)[0] == 0


def test_a_reported_failure_counts_at_once():
    state = three(failed={2: "ended: a.jpg: not a picture"})
    assert heartbeat.find_failure(state, 100) == (2, "ended: a.jpg: not a picture")


def test_a_process_without_any_heartbeat_is_named_by_its_index():
    assert heartbeat.describe(Heartbeat(None, "", 0, 3), 2) == "process 2 of 3"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("Connection closed by peer"), False),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), False),
        (jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed"), True),
        (jax.errors.JaxRuntimeError("INTERNAL: NCCL operation ncclAllReduce failed"), True),
    ],
)
def test_errors_of_collectives_may_come_from_other_processes(error, expected):
    assert heartbeat._may_be_remote(error) is expected

"""Short programs in HLO, with numbers to be checked by eye."""

import pytest

from yolojax.aot.hlo import Collective, Operation, group_size, payload, read_costs, size_in_bytes

CYCLES = 'backend_config={"window_config":{"estimated_cycles":"%d"}}'
PROGRAM = f"""HloModule jit_step, entry_computation_layout={{(f32[8]{{0}})->f32[8]{{0}}}}

%add (x: f32[], y: f32[]) -> f32[] {{
  %x = f32[] parameter(0)
  ROOT %sum = f32[] add(f32[] %x, f32[] %y)
}}

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {{
  %p = (s32[], f32[4]{{0:T(128)}}) parameter(0)
  %g = f32[4]{{0:T(128)}} get-tuple-element(%p), index=1
  %inner = f32[4]{{0:T(128)}} fusion(%g), kind=kLoop, calls=%add, {CYCLES % 10}
  ROOT %all-reduce.2 = f32[4]{{0:T(128)S(1)}} all-reduce(%inner), replica_groups=[2,4]<=[8]
}}

%condition (p.1: (s32[], f32[4])) -> pred[] {{
  %limit = s32[]{{:T(128)}} constant(LIMIT)
  %counter = s32[]{{:T(128)}} get-tuple-element(%p.1), index=0
  ROOT %less = pred[] compare(%counter, %limit), direction=LT, {CYCLES % 1}
}}

ENTRY %main (a: bf16[2,4]) -> f32[4] {{
  %a = bf16[2,4]{{1,0:T(8,128)(2,1)}} parameter(0)
  %b = (bf16[2,4]{{1,0}}, /*index=1*/f32[4]{{0}}) fusion(%a), kind=kLoop, {CYCLES % 100}
  %c = f32[4]{{0}} get-tuple-element(%b), index=1
  %source = bf16[1,2]{{1,0}} slice(%a), slice={{[0:1], [0:2]}}
  %zero = bf16[] constant(0)
  %s = bf16[2,4]{{1,0}} select-and-scatter(%a, %source, %zero), window={{size=2x2}}
  %all-reduce.1 = (f32[4]{{0}}, bf16[2,4]{{1,0}}) all-reduce(%c, %s), replica_groups=PAIRS
  ROOT %while = (s32[], f32[4]{{0}}) while(%c), condition=%condition, body=%body, LOOP
}}
"""
PROGRAM = PROGRAM.replace("PAIRS", "{{0,1},{2,3}}")
KNOWN = 'backend_config={"known_trip_count":{"n":"3"}}'


@pytest.mark.parametrize(("loop", "limit"), [(KNOWN, "-1"), ("metadata={}", "3")])
def test_loops_of_known_length_multiply_what_is_in_them(loop, limit):
    costs = read_costs(PROGRAM.replace("LOOP", loop).replace("LIMIT", limit), 8)
    assert (costs.cycles, costs.cycles_once, costs.open_loops) == (100 + 3 * 11, 100 + 11, 0)
    assert costs.collectives == (
        Collective("all-reduce", 2, 1, 4 * 4 + 8 * 2),  # a tuple of two arrays
        Collective("all-reduce", 4, 3, 3 * 4 * 4),
    )


def test_loops_of_unknown_length_count_once_and_are_reported():
    counted = PROGRAM.replace("LOOP", "metadata={}").replace("constant(LIMIT)", "parameter(1)")
    costs = read_costs(counted, 8)
    assert (costs.cycles, costs.cycles_once, costs.open_loops) == (111, 111, 1)


def test_select_and_scatter_reads_two_arrays_and_writes_one():
    costs = read_costs(PROGRAM.replace("LOOP", KNOWN), 8)
    assert costs.scatter_bytes == (8 + 2 + 1 + 8) * 2  # operand, source, first value, result


ASYNC = """
%wrapped (p: f32[4]) -> f32[16] {
  %p = f32[4]{0} parameter(0)
  ROOT %all-gather.1 = f32[16]{0} all-gather(%p), replica_groups=[1,4]<=[4], dimensions={0}
}

ENTRY main.1 (a: f32[4]) -> f32[16] {
  %a = f32[4]{0} parameter(0)
  %start = ((f32[4]{0}), f32[16]{0}) async-start(%a), calls=%wrapped
  %done = f32[16]{0} async-done(%start), calls=%wrapped
  %all-gather-start = (f32[4]{0}, f32[16]{0}) all-gather-start(%a), replica_groups=[1,4]<=[4]
  ROOT %all-gather-done = f32[16]{0} all-gather-done(%all-gather-start)
}
"""


def test_started_collectives_count_once_by_what_they_deliver():
    assert read_costs(ASYNC, 4).collectives == (Collective("all-gather", 4, 2, 2 * 16 * 4),)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("f32[2,3]{1,0:T(2,128)}", 24),
        ("(f32[2,3]{1,0}, bf16[4]{0:T(128)(2,1)S(1)})", 32),
        ("pred[]", 1),
        ("(u32[]{:S(2)}, token[])", 4),
    ],
)
def test_sizes(shape, size):
    assert size_in_bytes(shape) == size


@pytest.mark.parametrize(
    ("shape", "kind", "size"),
    [
        ("f32[8]{0}", "reduce-scatter", 4 * 32),  # a part of the result; 4 devices have one each
        ("f32[8]{0}", "all-reduce-start", 32),
        ("f32[8]{0}", "all-to-all", 32),
        ("(f32[8]{0}, f32[8]{0}, u32[], u32[])", "collective-permute-start", 36),
    ],
)
def test_payload_is_the_whole_array(shape, kind, size):
    assert payload(Operation("x", shape, kind, ""), 4) == size


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ("replica_groups={{0,1,2},{3,4,5}}, use_global_device_ids=true", 3),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", 4),
        ("replica_groups=mesh['axis_0'=16] {'axis_0'}, to_apply=%add", 16),
        ("replica_groups=mesh['a'=2,'b'=8] {'b'}", 8),
        ("replica_groups={}", 32),
        ("channel_id=1", 32),
    ],
)
def test_group_sizes(attributes, size):
    assert group_size(attributes, 32) == size

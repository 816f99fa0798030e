import pytest

from yolojax.distributed.xla_flags import TPU_OPTIONS, gpu_defaults, tpu_options

SCHEDULER = "--xla_gpu_enable_latency_hiding_scheduler"


def test_gpus_get_defaults():
    assert gpu_defaults({}) == {
        "XLA_FLAGS": f"{SCHEDULER}=true",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9",
    }


def test_flags_of_the_environment_are_kept():
    set_already = {
        "XLA_FLAGS": f"--xla_other=1 {SCHEDULER}=false",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5",
    }
    assert gpu_defaults(set_already) == {"XLA_FLAGS": set_already["XLA_FLAGS"]}
    more = gpu_defaults({"XLA_FLAGS": "--xla_other=1"})
    assert more["XLA_FLAGS"] == f"--xla_other=1 {SCHEDULER}=true"


def test_tpus_get_options():
    assert tpu_options({}) == TPU_OPTIONS
    assert tpu_options({"XLA_FLAGS": "--xla_other=1", "LIBTPU_INIT_ARGS": ""}) == TPU_OPTIONS


@pytest.mark.parametrize("variable", ["XLA_FLAGS", "LIBTPU_INIT_ARGS"])
def test_tpu_options_of_the_environment_are_kept(variable):
    flags = "--xla_other=1 --xla_tpu_scoped_vmem_limit_kib=65536"
    assert tpu_options({variable: flags}) == {}

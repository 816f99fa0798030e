from yolojax.xla import gpu_defaults

SCHEDULER = "--xla_gpu_enable_latency_hiding_scheduler"


def test_gpus_get_defaults():
    assert gpu_defaults({}) == {
        "XLA_FLAGS": f"{SCHEDULER}=true",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9",
    }


def test_what_is_set_stays():
    set_already = {
        "XLA_FLAGS": f"--xla_other=1 {SCHEDULER}=false",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5",
    }
    assert gpu_defaults(set_already) == {"XLA_FLAGS": set_already["XLA_FLAGS"]}
    more = gpu_defaults({"XLA_FLAGS": "--xla_other=1"})
    assert more["XLA_FLAGS"] == f"--xla_other=1 {SCHEDULER}=true"

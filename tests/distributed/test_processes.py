import jax
import pytest

from yolojax.distributed import processes
from yolojax.distributed.processes import VARIABLES, is_multiprocess_environment

ALL = dict(zip(VARIABLES, ("host0:9000", "4", "1"), strict=True))


def test_the_variables_are_the_arguments():
    assert processes._from_environment(ALL) == {
        "coordinator_address": "host0:9000",
        "num_processes": 4,
        "process_id": 1,
    }
    assert processes._from_environment({}) == {}


@pytest.mark.parametrize("missing", VARIABLES)
def test_a_missing_variable_is_named(missing):
    some = {name: value for name, value in ALL.items() if name != missing}
    with pytest.raises(ValueError, match=f"but {missing} is not; set all of"):
        processes._from_environment(some)


@pytest.mark.parametrize(
    ("name", "value"), [(VARIABLES[0], "host0"), (VARIABLES[1], "four"), (VARIABLES[2], "4")]
)
def test_an_invalid_variable_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}.*must be HOST:PORT and two whole"):
        processes._from_environment(ALL | {name: value})


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        (dict.fromkeys(VARIABLES, ""), False),
        (ALL, True),
        ({"JAX_PROCESS_ID": "1"}, True),  # the missing ones are an error later
        ({"SLURM_STEP_NUM_TASKS": "8"}, True),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"}, False),  # not under srun
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
    ],
)
def test_environments_with_other_processes(environment, expected):
    assert is_multiprocess_environment({"JAX_PLATFORMS": "cpu"} | environment) is expected


def test_a_single_process_is_the_main_one(tmp_path):
    assert processes.is_main()
    with processes.records_folder(tmp_path / "run") as folder:
        assert folder == tmp_path / "run"
    assert processes.from_main(lambda: 7) == 7
    assert processes.all_agree(True)
    assert not processes.all_agree(False)


def test_other_processes_write_to_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with processes.records_folder(tmp_path / "run") as folder:
        assert folder.name == "run"
        assert folder.parent != tmp_path
        folder.mkdir()
    assert not folder.exists()

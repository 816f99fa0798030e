"""A run with config.explain_every = 2: pictures are drawn, and nothing compiles for them."""

import cv2
import jax
import pytest
from small_runs import small_run

from yolojax import train as script
from yolojax.distributed.sharding import make_mesh
from yolojax.training.compilation import record_compilations
from yolojax.training.metrics import RunLog


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run of five steps over two sizes: its folder, [(name, step, compilations so far)]."""
    config = small_run(batches=5)
    config.eval.bootstrap, config.explain_every = 0, 2
    seen, workdir = [], tmp_path_factory.mktemp("watched")
    step, picture = RunLog.step, RunLog.picture
    with record_compilations() as compiled, pytest.MonkeyPatch.context() as patch:

        def record_step(self, *args):
            seen.append(("step", args[0], len(compiled)))
            step(self, *args)

        def record_picture(self, name, number, image):
            seen.append((name, number, len(compiled)))
            picture(self, name, number, image)

        patch.setattr(RunLog, "step", record_step)
        patch.setattr(RunLog, "picture", record_picture)
        script.train(config, workdir, make_mesh(jax.devices()[:1]))
    return workdir, seen


def test_a_picture_is_drawn_every_two_steps(watched):
    workdir, seen = watched
    assert [number for name, number, _ in seen if name == "explain"] == [2, 4]
    assert cv2.imread(str(workdir / "plots" / "explain.png")).std() > 0
    (events,) = workdir.glob("events*")
    assert events.read_bytes().count(b"\x89PNG") == 2


def test_pictures_compile_nothing_during_the_run(watched):
    _, seen = watched
    first, *_, last = (compilations for *_, compilations in seen)
    assert 0 < first == last

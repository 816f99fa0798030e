"""A run that draws its loss every two steps: pictures appear, and nothing compiles for them."""

import cv2
import jax
import pytest
from jax import monitoring

from configs.quickstart import get_config
from yolojax import train as script
from yolojax.distributed.sharding import make_mesh
from yolojax.training.metrics import RunLog


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run of five steps over two sizes: its folder, [(step, size, compilations so far)]."""
    config = get_config("smoke")
    config.model.name, config.model.width = "yolov2_tiny_voc", 0.0625
    config.data.image_size, config.data.multiscale = (64, 64), (64, 96)
    config.data.multiscale_every, config.data.multiscale_last = 1, 0
    config.optimizer.images, config.eval.bootstrap = 5 * config.optimizer.batch_size, 0
    config.explain_every = 2
    compiled, seen, workdir = [], [], tmp_path_factory.mktemp("watched")
    step, picture = RunLog.step, RunLog.picture

    def note_step(self, *args):
        seen.append(("step", args[0], len(compiled)))
        step(self, *args)

    def note_picture(self, name, number, image):
        seen.append((name, number, len(compiled)))
        picture(self, name, number, image)

    def listen(name, *_, **__):
        if "backend_compile" in name:
            compiled.append(name)

    monitoring.register_event_duration_secs_listener(listen)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunLog, "step", note_step)
            patch.setattr(RunLog, "picture", note_picture)
            script.train(config, workdir, make_mesh(jax.devices()[:1]))
    finally:
        monitoring.clear_event_listeners()
    return workdir, seen


def test_a_picture_is_drawn_every_two_steps(watched):
    workdir, seen = watched
    assert [number for name, number, _ in seen if name == "explain"] == [2, 4]
    assert cv2.imread(str(workdir / "plots" / "explain.png")).std() > 0
    (events,) = workdir.glob("events*")
    assert events.read_bytes().count(b"\x89PNG") == 2


def test_nothing_compiles_for_it_during_the_run(watched):
    _, seen = watched
    first, *_, last = (compilations for *_, compilations in seen)
    assert 0 < first == last

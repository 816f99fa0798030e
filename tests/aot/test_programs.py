import jax
import jax.numpy as jnp
import pytest

from yolojax.aot.programs import eval_programs, state_on, train_programs
from yolojax.config import Config
from yolojax.distributed.sharding import batch_sharding, make_mesh, shardings_of
from yolojax.tasks import build, forward_flops
from yolojax.training.compilation import abstract_batch
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state
from yolojax.training.step import jit_train_step, make_train_step


def narrow(name="yolov2"):
    config = Config()
    config.model.name, config.model.width = name, 0.0625
    config.model.classes, config.model.anchors = ("cat", "dog"), ((1.0, 1.0), (2.0, 1.0))
    config.data.image_size = (64, 96)
    config.optimizer.batch_size = 16
    return config


def test_abstract_state_is_that_of_the_training():
    config, mesh = narrow("yolov2_tiny_voc"), make_mesh()
    config.model.width, config.mesh.shard_state, config.optimizer.ema_decay = 0.125, True, 0.9
    task = build(config)
    real = create_state(task, make_optimizer(config.optimizer), config, mesh)
    abstract = state_on(config, task, mesh)
    assert shardings_of(abstract) == shardings_of(real)
    assert not all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(abstract))
    described = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (abstract, real)]
    assert described[0] == described[1]


def test_a_train_step_for_each_size():
    config, mesh = narrow(), make_mesh()
    task = build(config)
    small, large = train_programs(config, task, mesh, [(32, 32), (64, 64)])
    assert (small.name, small.images) == ("train 32x32", 2)
    assert large.model_flops == pytest.approx(3 * 2 * forward_flops(task, (64, 64)))
    assert large.model_flops == pytest.approx(4 * small.model_flops)
    assert "tensor<16x32x32x3xui8>" in small.lower().as_text()


def test_a_batch_that_the_devices_do_not_divide_is_an_error():
    config = narrow()
    config.optimizer.batch_size = 12
    with pytest.raises(ValueError, match="multiple of 8"):
        next(train_programs(config, build(config), make_mesh(), [(32, 32)]))


@pytest.mark.parametrize(
    ("name", "programs"),
    [("yolov2", ["network", "detect"]), ("darknet19", ["top"])],
)
def test_programs_of_an_evaluation(name, programs):
    config, mesh = narrow(name), make_mesh()
    found = list(eval_programs(config, build(config), mesh))
    assert [program.name for program in found] == [f"eval {p} 64x96" for p in programs]
    assert [program.images for program in found] == [2] * len(programs)
    results = [program.lower().compile().output_shardings for program in found]
    # `raw` is told to lie as the images do, before the compiler has decided.
    assert jax.tree.leaves(results[0])[0].is_equivalent_to(batch_sharding(mesh), 4)


def test_each_platform_gets_its_own_forms():
    config, mesh = narrow(), make_mesh()
    task, optimizer = build(config), make_optimizer(config.optimizer)
    state = state_on(config, task, mesh)
    step = jit_train_step(make_train_step(config, task, optimizer, mesh), mesh, shardings_of(state))
    traced = step.trace(state, abstract_batch(config, task.head, (64, 64), mesh))
    platforms = ("cpu", "cuda", "tpu")
    texts = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in platforms}
    counts = {p: text.count("stablehlo.select_and_scatter") for p, text in texts.items()}
    # The gradient of each max-pool; on TPU of the one that the passthrough looks behind.
    assert counts == {"cpu": 0, "cuda": 5, "tpu": 1}


def test_train_steps_get_the_options_of_tpus_there_alone(monkeypatch):
    config, mesh = narrow(), make_mesh()
    task = build(config)

    def compiled():
        (program,) = train_programs(config, task, mesh, [(32, 32)])
        return program.lower().compile()

    compiled()
    monkeypatch.setattr("yolojax.training.step.platform_of", lambda mesh: "tpu")
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_tpu_scoped_vmem_limit_kib"):
        compiled()  # for CPUs, which have no such option


def test_images_are_float32_where_darknet_resizes():
    config = narrow()
    config.data.resize = "darknet"
    network, _ = eval_programs(config, build(config), make_mesh())
    image = jax.tree.leaves(network.lower().in_avals)[-1]
    assert (image.dtype, image.shape) == (jnp.float32, (16, 64, 96, 3))

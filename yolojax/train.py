"""Training, from top to bottom: config -> task -> data -> state -> restore -> loop -> save."""

import time
from contextlib import closing
from pathlib import Path

from jax.profiler import StepTraceAnnotation
from jax.sharding import Mesh

from yolojax.config import Config
from yolojax.data.fingerprint import fingerprint_of
from yolojax.data.from_config import open_source, open_train_source, train_batches
from yolojax.data.tree_labels import nodes_of
from yolojax.distributed.heartbeat import is_multiprocess
from yolojax.distributed.processes import barrier, records_folder
from yolojax.distributed.sharding import (
    check_batch_size,
    platform_of,
    shardings_of,
    to_devices,
)
from yolojax.evaluation.dispatch import evaluation_of
from yolojax.explain import make_watch
from yolojax.ops.platforms import traced_for
from yolojax.pretrained import load_pretrained
from yolojax.suggestions import choose
from yolojax.tasks import build, check_image_sizes
from yolojax.training import checkpoint, goodput, run_config, run_lock
from yolojax.training.compilation import (
    compile_totals,
    compile_train_steps,
    record_compilations,
    train_sizes,
)
from yolojax.training.metrics import RunLog, due
from yolojax.training.optimizer import make_optimizer
from yolojax.training.profiling import (
    check_steps,
    device_memory,
    min_step_seconds,
    planned_gb,
    profiled,
)
from yolojax.training.ranking import ranking_of
from yolojax.training.signals import stop_requested
from yolojax.training.state import batches_done, create_state, inference_variables
from yolojax.training.step import jit_train_step, make_train_step
from yolojax.visual.draw import draw_batch, save_image


def train(
    config: Config, workdir: Path, mesh: Mesh, profile_steps: tuple[int, int] | None = None
) -> None:
    """Run the experiment in `workdir`, from its newest checkpoint to its end or a signal.

    Raises:
        ValueError: another process trains in `workdir`, or its checkpoints belong to another model.
    """
    started = time.time()
    batch_size = config.optimizer.batch_size
    check_batch_size(batch_size, config.optimizer.subdivisions, mesh)
    task, optimizer = build(config), make_optimizer(config.optimizer)
    evaluation = evaluation_of(task)
    choose("eval.metric", config.eval.metric, evaluation.METRICS)
    check_image_sizes(task, [*train_sizes(config), config.data.image_size])

    with (
        traced_for(platform_of(mesh)),
        records_folder(workdir) as records,
        run_lock.hold(workdir) as check_lock,
        stop_requested() as stop,
        checkpoint.open_newest(workdir, config.checkpoint.keep) as (manager, newest),
        record_compilations() as compiled,
    ):
        before = config if newest is None else checkpoint.config_of(manager, newest)
        if newest is None:
            checkpoint.print_restart(workdir, config)
        else:
            run_config.check(workdir, before, config, task)
            config = run_config.continued(before, config)
        train_source = open_train_source(config, task.head)
        val_source = open_source(config.data.val, config)
        state = create_state(task, optimizer, config, mesh)
        if newest is not None:
            print(f"resuming from {manager.directory}/{newest}")
            state = checkpoint.restore(manager, state, newest)
        elif config.init_from:
            state = load_pretrained(config.init_from, state, task, config)
        done, total = batches_done(state, batch_size), config.optimizer.images // batch_size
        changes, step = run_config.differences(before, config), int(state.step)
        print(f"{workdir}: {done} of {total} batches are done")
        if changes:
            print(run_config.as_text(workdir, changes, step, applied=done < total))
        if done >= total:
            return

        check_steps(profile_steps, step, step + total - done)
        data = {"train": fingerprint_of(train_source), "val": fingerprint_of(val_source)}
        ranked = ranking_of(config, data["val"])
        notes = run_config.record_start(records, step, changes, data)
        notes += checkpoint.ranking_notes(manager, ranked)
        print("".join(f"{note}\n" for note in notes), end="")
        checkpoint.save_config(records, config)
        goodput.record_event(records, "start", step, at=started)
        goodput.record_event(records, "setup", step, **compile_totals(compiled))
        train_step = make_train_step(config, task, optimizer, mesh)
        train_step = jit_train_step(train_step, mesh, shardings_of(state))
        programs = compile_train_steps(train_step, state, config, task.head, mesh)
        inference = evaluation.make_programs(task, config.eval, nodes_of(val_source))
        evaluation.warm_up(inference, inference_variables(state), config, mesh)
        watch = make_watch(task, config, state, records)
        min_seconds = min_step_seconds(task, config, mesh)
        memory = {"planned_gb": planned_gb(programs)} | device_memory()
        goodput.record_event(records, "compile", step, **compile_totals(compiled), **memory)

        batches = train_batches(train_source, config, task.head, start_batch=done)
        log = RunLog(
            records, config, step, done, total, mesh=mesh, compiled=compiled,
            min_seconds=min_seconds, broken=workdir / "broken",
        )  # fmt: skip
        barrier()
        with closing(batches), log, profiled(profile_steps, workdir, step) as trace:

            def evaluate(step, seen):
                variables = inference_variables(state)
                about = {"workdir": str(workdir), "step": step, "choice": "last"}
                about["averaged"] = state.ema is not None
                result = evaluation.evaluate_source(
                    inference, variables, val_source, config, mesh, records,
                    lenient=True, checkpoint=about,
                )  # fmt: skip
                log.result(step, seen, result)
                return result[config.eval.metric]

            for index in range(done, total):
                batch = log.next_batch(batches)
                program = programs[batch["image"].shape[1:3]]
                with StepTraceAnnotation("train", step_num=step + 1):
                    state, numbers = program(state, to_devices(batch, mesh))
                if index == 0:
                    mosaic = draw_batch(batch, config.model.shown)
                    save_image(records / "plots" / "train_batch0.jpg", mosaic)
                step, seen = step + 1, (index + 1) * batch_size
                log.step(step, seen, numbers, batch)
                trace(step, state)
                if watch and step % config.explain_every == 0:
                    log.picture("explain", step, watch(state, batch))

                last, halt = index + 1 == total, stop(step)
                measure = last or (due(config.eval.every_images, seen, batch_size) and not halt)
                if measure or halt or due(config.checkpoint.every_images, seen, batch_size):
                    log.flush()  # raises where this step's loss or gradient is not finite
                    save = checkpoint.finish if last or halt else checkpoint.save
                    try:
                        score = evaluate(step, seen) if measure else None
                    except Exception:  # what was trained is kept, but it takes all processes
                        if not is_multiprocess():
                            save(manager, state, config)
                        raise
                    check_lock()
                    save(manager, state, config, score, ranked)
                    log.record_event("checkpoint", step)
                if halt:
                    print(f"stopped and saved after step {step}; the same command resumes")
                    break
        goodput.record_event(records, "stop", step, **compile_totals(compiled))
        print(goodput.format_goodput(goodput.seconds_by_part(goodput.read_events(records))))

"""Train one Experiment (sections 3 and 4.2), evaluate it on the way, and resume after a kill to the same bits."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

import mxnet as mx
import numpy as np

from gluon_cgd import backbones, datasets, model
from gluon_cgd.datasets import images, training_part
from gluon_cgd.datasets.cache import cached, fingerprint
from gluon_cgd.datasets.records import PathLike, Split, limits
from gluon_cgd.descriptors import DESCRIPTORS
from gluon_cgd.evaluate import embedded
from gluon_cgd.experiment import REVISION, Experiment
from gluon_cgd.fetch.loading import sha256_of
from gluon_cgd.files.lock import locked
from gluon_cgd.files.whole import write_json
from gluon_cgd.learner import Learner
from gluon_cgd.machine import devices
from gluon_cgd.machine.progress import Task, task
from gluon_cgd.runs import checkpoint, collapse, findings, ranks, regime, results
from gluon_cgd.runs.log import logged_to, step_line
from gluon_cgd.runs.parameters import parameters_hash, save_parameters
from gluon_cgd.sampler import ClassBalancedSampler

log = logging.getLogger(__name__)


def fit(
    experiment: Experiment,
    split: Split,
    out: PathLike,
    seed: int = 0,
    ctx: Any = None,
    weights: Optional[PathLike] = None,
    cache: Optional[PathLike] = None,
    checkpoint_every: int = 100,
    progress: bool = False,
    parts: int = 1,
) -> Dict[str, Any]:
    """The result of training `experiment` on `split`, a dict; a finished run is not trained again.

    out: the run's folder. It receives train.log, best.params, last.params, ranks.npz and result.json, and
        during the run checkpoint.npz. A call that finds a checkpoint resumes there, on a CPU to the same bits.
    seed: of the initialisation, the batches and the augmentation.
    ctx: an MXNet device, by default the CPU, or a list of devices, over which each batch is split. Losses are computed
        on the whole batch; batch norm uses per-device statistics, and running statistics are the mean over the devices.
    weights: file of the backbone's ImageNet parameters, by default the published ones.
    cache: folder for the resized pictures.  checkpoint_every: iterations.  progress: show bars on stderr.
    parts: into how many parts each batch is split on one device, if memory is short (see `Learner`).
    Result: {"experiment", "seed", "iterations", "untrained", "last", "best", "history", "parameters_sha256", ...};
        "untrained", "last" and "best" are recalls, {"R@1": fraction, ...}; "branches" has them for each branch.
    Raises ValueError for an experiment, data or a folder that do not fit together, and for a run that diverges.
    """
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed {seed} must be from 0 to 2147483647")
    if checkpoint_every < 1:
        raise ValueError(f"checkpoint_every {checkpoint_every} must be at least 1")
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder for the run")
    data = fingerprint([record for part in split for record in part or ()])
    run = {"experiment": experiment.to_dict(), "seed": int(seed), "revision": REVISION, "data": data}
    if weights:
        if not Path(weights).is_file():
            raise ValueError(f"{weights} does not exist or is no regular file: check --weights")
        run["weights"] = sha256_of(weights)
    done = results.finished(out, run, warn=lambda damage: None)
    if done:  # before the lock: it may be another user's folder
        checkpoint.forget(out)
        findings.warn(out, done)
        return done
    out.mkdir(parents=True, exist_ok=True)
    with locked(out), logged_to(out / "train.log"):
        if done := results.finished(out, run):
            return done
        if experiment.pretrained and not weights:
            weights = backbones.imagenet_file(experiment.backbone, progress=progress)
        run["weights"] = sha256_of(weights) if weights else None
        return Run(experiment, split, out, run, ctx or mx.cpu(), weights, cache, progress, parts).go(checkpoint_every)


class Run:
    """One training run: the network, its data, and how far it is. run: its identity, which a resumed run must share."""

    log_every = 50  # iterations
    training: Optional[Dict[str, Any]] = None  # what the result says of the training pictures
    losses: Dict[str, float] = {}  # the means in that line

    def __init__(self, experiment, split, out, run, ctx, weights, cache, progress, parts=1):  # types as of `fit`
        self.experiment, self.split, self.out, self.run = experiment, split, out, run
        self.devices, self.progress, self.parts = devices.listed(ctx), progress, parts
        devices.check_batch(experiment.batch_size, len(self.devices))
        stored = checkpoint.resumable(out, run)
        self.training = training_part.describe(split, experiment.dataset, progress)
        # The classifier counts classes from 0 without gaps
        classes, self.labels = np.unique([record.label for record in split.train], return_inverse=True)
        self.sampler = ClassBalancedSampler(self.labels, experiment.batch_classes, experiment.batch_images, run["seed"])
        self.iterations = experiment.iterations(len(self.labels))
        mx.random.seed(run["seed"])
        self.net = model.from_experiment(experiment, len(classes), weights)
        self.net.collect_params().reset_ctx(self.devices)
        self.learner = Learner(experiment, self.net, self.devices, parts)
        self.trainer = self.learner.trainer
        arrays, meta = stored or ({}, {})
        self.iteration, self.history = meta.get("iteration", 0), meta.get("history", [])
        self.seconds, self.files = meta.get("seconds", 0.0), meta.get("files", {})  # {best.params: its SHA-256}
        self.ranks = checkpoint.ranks_of(arrays)  # of the test queries at the evaluations that count, see runs/ranks.py
        # The losses of the steps since the last line of the log, and before
        self.pending = [mx.nd.array(means, ctx=self.devices[0]) for means in meta.get("pending", ())]
        self.watch = regime.Watch(experiment, self.iterations, meta.get("curve", meta.get("logged", ())))
        if stored:
            checkpoint.restore(arrays, self.net, self.trainer, self.iteration)
            log.info("resumed at iteration %d of %d from %s", self.iteration, self.iterations, out / "checkpoint.npz")
        log.info(
            "%d iterations of %d pictures on %s", self.iterations, experiment.batch_size, devices.names(self.devices)
        )
        for sentence in limits(split, datasets.recall_ks(experiment.dataset)):
            log.warning("%s", sentence)
        self.pictures = cached(split.train, experiment.resize, cache, progress)
        self.query = cached(split.query, experiment.input_size, cache, progress)
        self.gallery = cached(split.gallery, experiment.input_size, cache, progress) if split.gallery else None

    def go(self, checkpoint_every: int) -> Dict[str, Any]:
        """Train to the end and return the result."""
        if not self.history:
            started = time.time()
            self.evaluate()
            self.seconds = time.time() - started
        with task("training", self.iterations, "it", self.progress, self.iteration) as bar:
            self.learn(bar, checkpoint_every)
        return self.finish()

    def learn(self, bar: Task, checkpoint_every: int) -> None:
        """Take the steps that are left, with the evaluations and the checkpoints that are due on the way."""
        parts = self.experiment.evaluations
        evaluations = {round(self.iterations * (part + 1) / parts) for part in range(parts)}
        reports = {*evaluations, self.watch.first_decay}
        mark, first = time.time(), self.iteration
        started = mark - self.seconds
        for indices, batch in self.batches():
            labels = mx.nd.array(self.labels[indices], ctx=self.devices[0])
            self.pending = [*self.pending, self.step(batch, labels)]
            if len(self.pending) > 1:
                self.pending[-2].wait_to_read()  # at most two steps in MXNet's queue: more would fill the memory
            self.iteration += 1
            bar.update()
            if self.iteration % self.log_every == 0 or self.iteration in reports:
                self.report((self.iteration - first) / (time.time() - mark), bar)
            if self.iteration in evaluations:
                self.evaluate()
            self.seconds = time.time() - started
            # After each evaluation too, also after the last: then it holds what is needed until the result is written
            if self.iteration % checkpoint_every == 0 or self.iteration in evaluations:
                state = dict(iteration=self.iteration, history=self.history, seconds=self.seconds, files=self.files)
                state.update(pending=[means.asnumpy().tolist() for means in self.pending], curve=self.watch.points)
                checkpoint.save_run(self.out, self.net, self.trainer, {**self.run, **state}, self.ranks)
            if not self.pending:
                mark, first = time.time(), self.iteration

    def batches(self) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """Yield (indices (B,), pictures uint8 (B, H, W, 3)) of each iteration; a thread prepares one batch ahead."""
        size = self.experiment.input_size
        buffers = np.empty((2, self.experiment.batch_size, size, size, 3), np.uint8)  # one is filled, one is read

        def prepare(iteration):
            indices, rng = self.sampler.batch(iteration)
            return indices, images.augment(self.pictures, indices, size, rng, buffers[iteration % 2])

        with ThreadPoolExecutor(1) as ahead:
            following = ahead.submit(prepare, self.iteration)
            for iteration in range(self.iteration, self.iterations):
                current, following = following, ahead.submit(prepare, iteration + 1)
                yield current.result()

    def step(self, batch: np.ndarray, labels: Any) -> Any:
        """One update by a batch; returns the mean of each loss, as `Learner.step`."""
        self.trainer.set_learning_rate(self.learning_rate())
        # A seed for each iteration: a resumed run draws the same
        return self.learner.step(batch, labels, (1_000_003 * self.run["seed"] + self.iteration) % 2**31)

    def learning_rate(self) -> float:
        """Adam's learning rate for the next iteration: a step decay (section 4.2)."""
        steps = sum(self.iteration >= round(at * self.iterations) for at in self.experiment.decay_at)
        return self.experiment.learning_rate * self.experiment.decay_factor**steps

    def report(self, rate: float, bar: Task) -> None:
        """Log the losses of the pending steps in GluonCV's format. Raises ValueError if they are NaN. rate: steps/s."""
        means = mx.nd.stack(*self.pending).mean(axis=0).asnumpy()
        self.check_finite("the loss", means)
        self.pending, self.losses = [], dict(zip(("ranking", "classification"), means.tolist()))
        epoch, speed = (count * self.experiment.batch_size for count in (self.iteration / len(self.labels), rate))
        log.info("%s", step_line(epoch, self.iteration, speed, self.losses, self.trainer.learning_rate))
        bar.note(" ".join(f"{name}={mean:.4f}" for name, mean in self.losses.items()))
        self.watch.note(self.iteration, self.losses)

    def check_finite(self, name: str, values: np.ndarray) -> None:
        """Raise ValueError if there are NaN or infinite `values`."""
        if not np.isfinite(values).all():
            place = f"at iteration {self.iteration} of {self.out}"
            raise ValueError(f"{name} is NaN or infinite {place}: the run has diverged, lower the learning rate")

    def evaluate(self) -> None:
        """Append the recall on the test set to the history; if it is the best so far, save best.params."""
        experiment, ks = self.experiment, datasets.recall_ks(self.experiment.dataset)
        mx.nd.waitall()  # see save_checkpoint and devices.average_statistics
        devices.average_statistics(self.net)
        for name, parameter in self.net.collect_params().items():
            self.check_finite(name, parameter.list_data()[0].asnumpy())  # NaN features can give a finite loss
        embeddings = embedded(self.net, self.split, self.query, self.gallery, self.devices, experiment.batch_size)
        names = [DESCRIPTORS[letter].__name__ for letter in experiment.descriptors if experiment.has_branches]
        measured, found = results.measured(ks, embeddings, names)
        entry = {"iteration": self.iteration, **measured}
        entry.update({"losses": self.losses} if self.losses else {})
        self.history.append(entry)
        scores = "\t".join(f"{name}={100 * value:.2f}" for name, value in entry["recall"].items())
        log.info("[Iteration %d] validation: %s", self.iteration, scores)
        log.info("[Iteration %d] spread: %s", self.iteration, collapse.told(entry, experiment))
        stages = results.stages_of_newest(self.history)
        self.ranks = ranks.updated(self.ranks, found, stages, embeddings.query_labels)
        if "best" in stages:
            self.files = {checkpoint.BEST: save_parameters(self.net, self.out / checkpoint.WAITING)}

    def finish(self) -> Dict[str, Any]:
        """Write last.params, ranks.npz and result.json, remove the checkpoint, and return the result."""
        files = checkpoint.save_last(self.net, self.out, self.files)
        files.update(ranks.write(self.out, self.ranks, results.best_of(self.history) is self.history[-1]))
        result = dict(
            self.run,
            iterations=self.iterations,
            classes=int(self.labels.max()) + 1,
            **({"training": self.training} if self.training else {}),
            **results.of_history(self.history),
            **self.watch.entries(),
            seconds=round(self.seconds, 1),
            parts=self.parts,
            **results.origin(self.devices),
            parameters_sha256=parameters_hash(self.net),
            files=files,
        )
        write_json(self.out / "result.json", result)
        checkpoint.forget(self.out)
        scores = [100 * result[which]["R@1"] for which in ("last", "best")]
        log.info("done: R@1=%.2f, best %.2f at iteration %d", *scores, result["best_iteration"])
        findings.warn(self.out, result)
        return result

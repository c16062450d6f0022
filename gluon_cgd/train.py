"""Train one Experiment (sections 3 and 4.2), evaluate it on the way, and resume after a kill to the same bits."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import numpy as np

from gluon_cgd import datasets
from gluon_cgd.datasets.records import PathLike, Split, limits
from gluon_cgd.evaluate import labelled
from gluon_cgd.experiment import Experiment
from gluon_cgd.extensions.whitening import of_training, with_values
from gluon_cgd.files.lock import locked
from gluon_cgd.files.whole import write_json
from gluon_cgd.machine.progress import Task, task
from gluon_cgd.runs import checkpoint, collapse, findings, ranks, regime, results
from gluon_cgd.runs.log import logged_to, step_line
from gluon_cgd.runs.parameters import hash_of, write_parameters
from gluon_cgd.sampler import ClassBalancedSampler, draw_changes

log = logging.getLogger(__name__)


def fit(
    experiment: Experiment,
    split: Split,
    out: PathLike,
    seed: int = 0,
    ctx: Any = None,
    weights: Optional[PathLike] = None,
    cache: Optional[PathLike] = None,
    checkpoint_every: Optional[int] = None,
    progress: bool = False,
    parts: int = 1,
    engine: str = "mxnet",
    precision: str = "float32",
    deterministic: bool = False,
) -> Dict[str, Any]:
    """The result of training `experiment` on `split`, a dict; a finished run is not trained again.

    out: the run's folder. It receives train.log, best.params, last.params, ranks.npz and result.json, and
        during the run checkpoint.npz. A call that finds a checkpoint resumes there, on a CPU to the same bits.
    seed: of the initialisation, batches and augmentation.  ctx: an MXNet device, by default the CPU, or several,
        which share each batch (see `Learner`), in a list or as text: "gpu0,gpu1"; with engine="pytorch" only as text:
        "cpu", "cuda0,cuda1", "mps".
    weights: file of the backbone's ImageNet parameters, by default the published ones.
    cache: folder for the resized pictures.  checkpoint_every: iterations; None for the rule of `checkpoint.Due`.
    progress: show bars on stderr.
    parts: into how many parts each batch is split on one device, if memory is short (see `Learner`).
    engine, precision, deterministic: mxnet, or pytorch, which trains the same graph (see `engines.process`).
    Result: {"experiment", "seed", "iterations", "untrained", "last", "best", "history", "parameters_sha256", ...};
        "untrained", "last" and "best" are recalls, {"R@1": fraction, ...}; "branches" has them for each branch.
    Raises ValueError for an experiment, data or a folder that do not fit together, and for a run that diverges.
    """
    from gluon_cgd.engines import gluon, material, process  # they need MXNet, which PyTorch's process does not have

    out = material.checked(out, seed, checkpoint_every)
    run = material.identity(experiment, split, seed, weights)
    run.update(process.identity(engine, precision, deterministic, parts))
    done = results.finished(out, run, warn=lambda damage: None)
    if done:  # before the lock: it may be another user's folder
        checkpoint.forget(out)
        findings.warn(out, done)
        return done
    out.mkdir(parents=True, exist_ok=True)
    pictures = material.Material(experiment, split, cache, progress)
    with locked(out) as lock, logged_to(out / "train.log"):
        if done := results.finished(out, run):
            return done
        weights = material.weights_of(experiment, weights, progress)
        run["weights"] = material.sha256_of(weights) if weights else None
        if engine == "pytorch":
            return process.train(pictures, out, run, weights, ctx, deterministic, checkpoint_every, lock)
        start = partial(gluon.started, ctx=ctx, weights=weights, parts=parts)
        return Run(experiment, split, out, run, start, pictures, progress).go(checkpoint_every)


class Run:
    """One training run: its engine, its data, and how far it is.

    run: its identity, which a resumed run must share.
    start: a function of experiment, number of classes and seed that returns an engine, as `engines.gluon.started`.
    material: what gives the pictures, as `engines.material.Material`.
    """

    log_every = 50  # iterations
    training: Optional[Dict[str, Any]] = None  # what the result says of the training pictures
    losses: Dict[str, float] = {}  # the means in that line
    rate = 0.0  # the learning rate of the last step

    def __init__(
        self,
        experiment: Experiment,
        split: Split,
        out: Path,
        run: Dict[str, Any],
        start: Callable[[Experiment, int, int], Any],
        material: Any,
        progress: bool = False,
    ):
        self.experiment, self.split, self.out, self.run, self.progress = experiment, split, out, run, progress
        stored = checkpoint.resumable(out, run)
        self.training = material.training()
        # The classifier counts classes from 0 without gaps
        classes, self.labels = np.unique([record.label for record in split.train], return_inverse=True)
        self.sampler = ClassBalancedSampler(self.labels, experiment.batch_classes, experiment.batch_images, run["seed"])
        self.iterations = experiment.iterations(len(self.labels))
        self.engine = start(experiment, len(classes), run["seed"])
        arrays, meta = stored or ({}, {})
        self.iteration, self.history = meta.get("iteration", 0), meta.get("history", [])
        self.seconds, self.files = meta.get("seconds", 0.0), meta.get("files", {})  # {best.params: its SHA-256}
        self.ranks = checkpoint.ranks_of(arrays)  # of the test queries at the evaluations that count, see runs/ranks.py
        # The losses of the steps since the last line of the log, and before
        self.pending = [self.engine.means(numbers) for numbers in meta.get("pending", ())]
        self.watch = regime.Watch(experiment, self.iterations, meta.get("curve", meta.get("logged", ())))
        if stored:
            self.engine.restore(arrays, self.iteration)
            log.info("resumed at iteration %d of %d from %s", self.iteration, self.iterations, out / "checkpoint.npz")
        log.info("%d iterations of %d pictures on %s", self.iterations, experiment.batch_size, self.engine.names())
        for sentence in limits(split, datasets.recall_ks(experiment.dataset)):
            log.warning("%s", sentence)
        self.pictures, self.query, self.gallery = material.pictures()
        self.engine.hold(self.pictures)

    def go(self, checkpoint_every: Optional[int] = None) -> Dict[str, Any]:
        """Train to the end and return the result."""
        if not self.history:
            started = time.time()
            self.evaluate()
            self.seconds = time.time() - started
        with task("training", self.iterations, "it", self.progress, self.iteration) as bar:
            self.learn(bar, checkpoint_every)
        return self.finish()

    def learn(self, bar: Task, checkpoint_every: Optional[int]) -> None:
        """Take the steps that are left, with the evaluations and the checkpoints that are due on the way."""
        parts = self.experiment.evaluations
        evaluations = {round(self.iterations * (part + 1) / parts) for part in range(parts)}
        reports = {*evaluations, self.watch.first_decay}
        mark, first = time.time(), self.iteration
        started, due = mark - self.seconds, checkpoint.Due(checkpoint_every, time.monotonic())
        for indices, batch in self.batches():
            self.pending = [*self.pending, self.step(batch, self.labels[indices])]
            if len(self.pending) > 1:
                self.engine.wait(self.pending[-2])  # at most two steps in its queue: more would fill the memory
            self.iteration += 1
            bar.update()
            if self.iteration % self.log_every == 0 or self.iteration in reports:
                self.report(self.iteration - first, mark, bar)
            if self.iteration in evaluations:
                self.evaluate()
            self.seconds = time.time() - started
            # After each evaluation too, also after the last: then it holds what is needed until the result is written
            if due.at(self.iteration, time.monotonic()) or self.iteration in evaluations:
                state = dict(iteration=self.iteration, history=self.history, seconds=self.seconds, files=self.files)
                arrays, pending = self.engine.state(), [self.engine.numbers(means) for means in self.pending]
                state.update(pending=pending, curve=self.watch.points)
                begun = time.monotonic()
                checkpoint.save_run(self.out, arrays, {**self.run, **state}, self.ranks)
                due.written(begun, time.monotonic())
            if not self.pending:
                mark, first = time.time(), self.iteration

    def batches(self) -> Iterator[Tuple[np.ndarray, Any]]:
        """Yield (indices (B,), the engine's batch of their pictures) of each iteration; a thread prepares one ahead."""

        def prepare(iteration):
            indices, rng = self.sampler.batch(iteration)
            changes = draw_changes(rng, len(indices), self.experiment)
            return indices, self.engine.batch(indices, changes, iteration)

        with ThreadPoolExecutor(1) as ahead:
            following = ahead.submit(prepare, self.iteration)
            for iteration in range(self.iteration, self.iterations):
                current, following = following, ahead.submit(prepare, iteration + 1)
                yield current.result()

    def step(self, batch: Any, labels: np.ndarray) -> Any:
        """One update by a batch; returns the mean of each loss, as the engine does."""
        self.rate = self.learning_rate()
        # A seed for each iteration: a resumed run draws the same
        return self.engine.step(batch, labels, self.rate, (1_000_003 * self.run["seed"] + self.iteration) % 2**31)

    def learning_rate(self) -> float:
        """Adam's learning rate for the next iteration: a step decay (section 4.2)."""
        steps = sum(self.iteration >= round(at * self.iterations) for at in self.experiment.decay_at)
        return self.experiment.learning_rate * self.experiment.decay_factor**steps

    def report(self, steps: int, since: float, bar: Task) -> None:
        """Log the losses of the pending steps in GluonCV's format. Raises ValueError if they are NaN.

        steps: how many were taken since the time `since`, as of time.time().
        """
        means = self.engine.mean(self.pending)  # waits for the device: without that the speed would be too high
        self.check_finite("the loss", means)
        self.pending, self.losses = [], dict(zip(("ranking", "classification"), means.tolist()))
        rate = steps / (time.time() - since)
        epoch, speed = (count * self.experiment.batch_size for count in (self.iteration / len(self.labels), rate))
        log.info("%s", step_line(epoch, self.iteration, speed, self.losses, self.rate))
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
        self.engine.settle()
        parameters = self.engine.parameters()
        for name, values in parameters.items():
            self.check_finite(name, values)  # NaN features can give a finite loss
        embeddings = labelled(self.engine.embed, self.split, self.query, self.gallery)
        learned = of_training(experiment, self.engine.embed, self.pictures)
        measured, found = results.measured(ks, embeddings, experiment, learned, self.engine.ranks)
        entry = {"iteration": self.iteration, **measured, **({"losses": self.losses} if self.losses else {})}
        self.history.append(entry)
        scores = "\t".join(f"{name}={100 * value:.2f}" for name, value in entry["recall"].items())
        log.info("[Iteration %d] validation: %s", self.iteration, scores)
        log.info("[Iteration %d] spread: %s", self.iteration, collapse.told(entry, experiment))
        stages = results.stages_of_newest(self.history)
        self.ranks = ranks.updated(self.ranks, found, stages, embeddings.query_labels)
        if "best" in stages:
            best = with_values(parameters, learned)
            self.files = {checkpoint.BEST: write_parameters(best, self.out / checkpoint.WAITING)}

    def finish(self) -> Dict[str, Any]:
        """Write last.params, ranks.npz and result.json, remove the checkpoint, and return the result."""
        learned = of_training(self.experiment, self.engine.embed, self.pictures)
        parameters = with_values(self.engine.parameters(), learned)
        files = checkpoint.save_last(parameters, self.out, self.files)
        files.update(ranks.write(self.out, self.ranks, results.best_of(self.history) is self.history[-1]))
        result = dict(
            self.run,
            iterations=self.iterations,
            classes=int(self.labels.max()) + 1,
            **({"training": self.training} if self.training else {}),
            **results.of_history(self.history),
            **self.watch.entries(),
            seconds=round(self.seconds, 1),
            parts=self.engine.parts,
            **self.engine.origin(),
            parameters_sha256=hash_of(parameters),
            files=files,
        )
        write_json(self.out / "result.json", result)
        checkpoint.forget(self.out)
        scores = [100 * result[which]["R@1"] for which in ("last", "best")]
        log.info("done: R@1=%.2f, best %.2f at iteration %d", *scores, result["best_iteration"])
        findings.warn(self.out, result)
        return result

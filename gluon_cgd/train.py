"""Train one Experiment: fit, evaluate on the way, and go on after a kill as if nothing had happened."""

import logging
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mxnet as mx
import numpy as np
from tqdm import tqdm

from gluon_cgd import backbones, datasets, model
from gluon_cgd.datasets import images
from gluon_cgd.datasets.cache import cached, fingerprint
from gluon_cgd.descriptors import DESCRIPTORS
from gluon_cgd.evaluate import embedded
from gluon_cgd.experiment import REVISION
from gluon_cgd.files.whole import digest, forget, locked, write_json
from gluon_cgd.learner import Learner
from gluon_cgd.machine import devices, facts
from gluon_cgd.recall import branch_recalls, recall_of
from gluon_cgd.runs import checkpoint, results
from gluon_cgd.runs.log import logged_to
from gluon_cgd.sampler import ClassBalancedSampler

log = logging.getLogger(__name__)


def fit(
    experiment, split, out, seed=0, ctx=None, weights=None, cache=None, checkpoint_every=100, progress=False, parts=1
):
    """Train `experiment` on `split` and return its result, a dict; a run that is done is not done again.

    out: the run's folder. It receives train.log, best.params, last.params and result.json, and while the run goes on
        checkpoint.npz; a call that finds one goes on from there, on a CPU to the same bits.
    seed: of the initialisation, the batches and the augmentation.
    ctx: an MXNet device, by default the CPU, or a list of them, over which each batch is split. The losses see it
        whole; batch norm normalises on each device alone, and its running statistics are the mean over the devices.
    weights: file of the backbone's ImageNet parameters, if not the published ones.  cache: of the resized pictures.
    checkpoint_every: iterations.  progress: show bars on stderr.
    parts: of each batch on one device, one after the other, where memory is short (see `Learner`).
    Result: {"experiment", "seed", "iterations", "untrained", "last", "best", "history", "parameters_sha256", ...};
        "untrained", "last" and "best" are recalls, fractions by "R@1", ...; "branches" has them of each branch.
    Raises ValueError for an experiment, data or a folder that do not fit together, and for a run that diverges.
    """
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed {seed} must be from 0 to 2147483647")
    if checkpoint_every < 1:
        raise ValueError(f"checkpoint_every {checkpoint_every} must be at least 1")
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder for the run")
    out.mkdir(parents=True, exist_ok=True)
    with locked(out), logged_to(out / "train.log"):
        run = {
            "experiment": experiment.to_dict(),
            "seed": int(seed),
            "revision": REVISION,
            "data": fingerprint([record for part in split for record in part or ()]),
        }
        if weights and not Path(weights).is_file():
            raise ValueError(f"{weights}, the file of ImageNet parameters, does not exist: check --weights")
        if weights:
            run["weights"] = digest(weights)
        done = results.finished(out, run)
        if done:
            forget(out / "checkpoint.npz")
            return done
        if experiment.pretrained and not weights:
            weights = backbones.imagenet_file(experiment.backbone, progress=progress)
        run["weights"] = digest(weights) if weights else None
        return Run(experiment, split, out, run, ctx or mx.cpu(), weights, cache, progress, parts).go(checkpoint_every)


class Run:
    """One training run under way: the model, what it learns from, and where it stands."""

    log_every = 50  # iterations

    def __init__(self, experiment, split, out, run, ctx, weights, cache, progress, parts=1):
        self.experiment, self.split, self.out, self.run = experiment, split, out, run
        self.devices, self.progress, self.parts = devices.listed(ctx), progress, parts
        devices.check_batch(experiment.batch_size, len(self.devices))
        file = out / "checkpoint.npz"
        arrays, meta = checkpoint.load(file) if file.is_file() else (None, None)
        if meta is not None:
            results.same_run(file, meta, run)
        # The classifier counts classes from 0 without gaps
        classes, self.labels = np.unique([record.label for record in split.train], return_inverse=True)
        self.sampler = ClassBalancedSampler(self.labels, experiment.batch_classes, experiment.batch_images, run["seed"])
        self.iterations = experiment.iterations(len(self.labels))
        mx.random.seed(run["seed"])
        self.net = model.from_experiment(experiment, len(classes), weights)
        self.net.collect_params().reset_ctx(self.devices)
        self.learner = Learner(experiment, self.net, self.devices, parts)
        self.trainer = self.learner.trainer
        self.iteration, self.history, self.seconds = 0, [], 0.0
        if meta is not None:
            checkpoint.restore(arrays, self.net, self.trainer, meta["iteration"])
            self.iteration, self.history, self.seconds = meta["iteration"], meta["history"], meta["seconds"]
            log.info("resumed at iteration %d of %d from %s", self.iteration, self.iterations, file)
        log.info(
            "%d iterations of %d pictures on %s", self.iterations, experiment.batch_size, devices.names(self.devices)
        )
        self.pictures = cached(split.train, experiment.resize, cache, progress)
        self.query = cached(split.query, experiment.input_size, cache, progress)
        self.gallery = split.gallery and cached(split.gallery, experiment.input_size, cache, progress)

    def go(self, checkpoint_every):
        """Train to the end and return the result."""
        started = time.time() - self.seconds
        if not self.history:
            self.evaluate()
        parts = self.experiment.evaluations
        evaluations = {round(self.iterations * (part + 1) / parts) for part in range(parts)}
        bar = tqdm(total=self.iterations, initial=self.iteration, unit="it", disable=not self.progress)
        pending, mark = [], time.time()
        for indices, batch in self.batches():
            pending.append(self.step(batch, mx.nd.array(self.labels[indices], ctx=self.devices[0])))
            if len(pending) > 1:
                pending[-2].wait_to_read()  # two steps in the queue at most, so that it does not fill the memory
            self.iteration += 1
            bar.update()
            last = self.iteration == self.iterations
            if self.iteration % self.log_every == 0 or self.iteration in evaluations:
                self.report(pending, mark, bar)
                pending = []
            if self.iteration in evaluations:
                self.evaluate()
            self.seconds = time.time() - started
            # After an evaluation too, so that best.params is never ahead of the history
            if (self.iteration % checkpoint_every == 0 or self.iteration in evaluations) and not last:
                meta = dict(self.run, iteration=self.iteration, history=self.history, seconds=self.seconds)
                checkpoint.save(self.out / "checkpoint.npz", self.net, self.trainer, meta)
            if not pending:
                mark = time.time()
        bar.close()
        return self.finish()

    def batches(self):
        """(indices, uint8 pictures) of every iteration to come; the next is made while this one is learned from."""

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

    def step(self, batch, labels):
        """One update. Returns the mean of each loss (ranking, classification), (2,), still on the first device."""
        self.trainer.set_learning_rate(self.learning_rate())
        # What is drawn is the same after a resume
        return self.learner.step(batch, labels, (1_000_003 * self.run["seed"] + self.iteration) % 2**31)

    def learning_rate(self):
        """Adam's learning rate for the coming iteration: a step decay (section 4.2)."""
        steps = sum(self.iteration >= round(at * self.iterations) for at in self.experiment.decay_at)
        return self.experiment.learning_rate * self.experiment.decay_factor**steps

    def report(self, pending, mark, bar):
        """Log a line in GluonCV's format. Raises ValueError when the loss is not a number any more."""
        means = mx.nd.stack(*pending).mean(axis=0).asnumpy()
        if not np.isfinite(means).all():
            raise ValueError(
                f"the loss is {means.sum()} at iteration {self.iteration} of {self.out}: the run has diverged, "
                "lower the learning rate"
            )
        speed = len(pending) * self.experiment.batch_size / (time.time() - mark)
        terms = [f"{name}={mean:.4f}" for name, mean in zip(("ranking", "classification"), means)]
        epoch = self.iteration * self.experiment.batch_size // len(self.labels)
        line = "Epoch[%d] Batch [%d]\tSpeed: %.1f samples/sec\t%s\tlr=%g"
        log.info(line, epoch, self.iteration, speed, "\t".join(terms), self.trainer.learning_rate)
        bar.set_postfix_str(" ".join(terms))

    def evaluate(self):
        """Recall on the test set now, appended to the history; the best parameters so far are kept."""
        ks = datasets.recall_ks(self.experiment.dataset)
        mx.nd.waitall()  # as in checkpoint.save
        devices.average_statistics(self.net)
        for name, parameter in self.net.collect_params().items():
            if not np.isfinite(parameter.list_data()[0].asnumpy()).all():  # NaN features can have a finite loss
                raise ValueError(
                    f"{name} is NaN or infinite at iteration {self.iteration} of {self.out}: the run has diverged, "
                    "lower the learning rate"
                )
        batch_size = self.experiment.batch_size
        embeddings = embedded(self.net, self.split, self.query, self.gallery, self.devices, batch_size)
        recall = recall_of(ks, embeddings)
        entry = {"iteration": self.iteration, "recall": recall}
        if self.experiment.has_branches:
            names = [DESCRIPTORS[letter].__name__ for letter in self.experiment.descriptors]
            entry["branches"] = branch_recalls(ks, embeddings, names)
        self.history.append(entry)
        scores = "\t".join(f"{name}={100 * value:.2f}" for name, value in recall.items())
        log.info("[Iteration %d] validation: %s", self.iteration, scores)
        if self.iteration and self.best() is self.history[-1]:
            checkpoint.save_parameters(self.net, self.out / "best.params")

    def best(self):
        """The first trained entry of the history with the highest Recall@1."""
        return max(self.history[1:], key=lambda entry: entry["recall"]["R@1"])

    def finish(self):
        """Write what the run leaves behind and return the result."""
        checkpoint.save_parameters(self.net, self.out / "last.params")
        last, best = self.history[-1], self.best()
        result = dict(
            self.run,
            iterations=self.iterations,
            classes=int(self.labels.max()) + 1,
            untrained=self.history[0]["recall"],
            last=last["recall"],
            best=best["recall"],
            best_iteration=best["iteration"],
            branches={
                which: entry.get("branches", {})
                for which, entry in (("untrained", self.history[0]), ("last", last), ("best", best))
            },
            history=self.history,
            seconds=round(self.seconds, 1),
            device=devices.names(self.devices),
            parts=self.parts,
            machine=facts.machine(f"{self.devices[0].device_type}{self.devices[0].device_id}"),
            threads=int(os.environ.get("OMP_NUM_THREADS", 0)),  # the order of a CPU's sums, and so their last bits
            commit=facts.commit(),
            parameters_sha256=checkpoint.parameters_hash(self.net),
            files={name: digest(self.out / name) for name in ("last.params", "best.params")},
            versions={"python": platform.python_version(), "mxnet": mx.__version__, "numpy": np.__version__},
        )
        write_json(self.out / "result.json", result)
        forget(self.out / "checkpoint.npz")
        scores = [100 * entry["recall"]["R@1"] for entry in (last, best)]
        log.info("done: R@1=%.2f, best %.2f at iteration %d", *scores, best["iteration"])
        return result

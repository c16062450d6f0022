"""One training step: both losses of a batch and Adam (sections 3 and 4.2), on one device or several."""

import logging
from typing import Any, Callable, Dict, List, Sequence, Tuple

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from gluon_cgd import losses
from gluon_cgd.datasets import images
from gluon_cgd.engines import fusion
from gluon_cgd.experiment import Experiment
from gluon_cgd.machine import devices

log = logging.getLogger(__name__)


class Learner:
    """A network, its losses and Adam; `step` learns from one batch.

    net: a CGD with values, on `ctx`, which is one device or a list of devices that share each batch. Losses are
        computed on the whole batch; batch norm uses per-device statistics, and running statistics are their mean.
    parts: into how many parts a batch is split on one device, computed one after the other. This needs the memory of
        one part, and one more forward pass. As with several devices, losses are computed on the whole batch, and batch
        norm uses the statistics of each part.
    Raises ValueError for a batch that cannot be split like this.
    """

    def __init__(self, experiment: Experiment, net: gluon.HybridBlock, ctx: Any, parts: int = 1):
        self.experiment, self.net, self.parts = experiment, net, parts
        self.devices = devices.listed(ctx)
        if parts < 1:
            raise ValueError(f"a batch cannot be split into {parts} parts: --parts must be at least 1")
        if parts > 1 and len(self.devices) > 1:
            raise ValueError(
                f"{parts} parts are for one device: the {len(self.devices)} devices given already split each batch"
            )
        if parts > 1:
            devices.check_batch(experiment.batch_size, parts, "parts")
        say_batch_norms(experiment)
        self.ranking = losses.RANKING[experiment.loss](experiment)
        self.classification = losses.CLASSIFICATION[experiment.classification_loss](experiment)
        for block in (net, self.ranking, self.classification):
            block.hybridize(static_alloc=True, static_shape=True)
        # Not of other libraries' networks: oneDNN lacks the way back through the pair in some of their layouts
        if self.devices[0].device_type == "cpu" and ":" not in experiment.backbone:
            fusion.fuse_relus(net)
        # Without the classification loss the classifier stays as it is
        unused = [] if experiment.classification else list(net.classifier.collect_params().values())
        parameters = net.collect_params().values()
        # No others: the trainer's first step copies all of its parameters from the first device to the rest
        self.learned = [value for value in parameters if value not in unused and value.grad_req != "null"]
        if parts > 1:
            for parameter in self.learned:
                parameter.grad_req = "add"
        # Adam (section 4.2); `train.Run.learning_rate` steps its rate down
        adam = {"learning_rate": experiment.learning_rate, "wd": experiment.weight_decay}
        self.trainer = gluon.Trainer(self.learned, "adam", adam, kvstore="device", update_on_kvstore=False)

    def step(self, batch: np.ndarray, labels: mx.nd.NDArray, seed: int) -> mx.nd.NDArray:
        """One update by a batch; returns the means of the ranking and of the classification loss, (2,) or (1,).

        batch: uint8 (B, H, W, 3).  labels: (B,), on the first device, where the result is too.  seed: of all that MXNet
        draws in this step (the negatives of the margin loss).
        """
        mx.random.seed(seed)
        if self.parts > 1:
            means = self._by_parts(np.array_split(batch, self.parts), labels, seed)
        else:
            with autograd.record():
                outputs = [self.net(part) for part in images.parts(batch, self.devices)]  # (B, 3, H, W) in all
                means, loss = self.losses(devices.gathered(outputs), labels)
            loss.backward()
        self.trainer.step(1)  # adds up the devices' gradients, which make that of the whole batch
        return mx.nd.concat(*means, dim=0)

    def losses(self, outputs: Tuple, labels: Any) -> Tuple[List, Any]:
        """([the mean of each loss, (1,)], their sum): the final loss of section 3, weighted 1:1."""
        means = means_of(mx.nd, self.experiment, self.ranking, self.classification, outputs, labels)
        return means, mx.nd.add_n(*means)

    def _by_parts(self, parts: List, labels: Any, seed: int) -> List:
        """The means of the losses; the parameters then have their gradients.

        A first pass without gradients gives the outputs of the whole batch, from which the losses and their gradients
        by these outputs follow. A second pass takes those back through the network. Both passes draw the same.
        """
        ctx = self.devices[0]
        for parameter in self.learned:
            parameter.zero_grad()
        with devices.kept_statistics(self.net):
            outputs = []
            for number, part in enumerate(parts):
                mx.random.seed((seed + number * 2**20) % 2**31)
                with autograd.train_mode():  # without recording
                    embedding, logits, branches = self.net(images.normalise(part, ctx))
                outputs.append((embedding.copy(), logits.copy(), [branch.copy() for branch in branches]))
                mx.nd.waitall()  # one part's memory at a time
        whole = devices.gathered(outputs)
        heads = flat(whole)  # every output of the whole batch
        for head in heads:
            head.attach_grad()
        mx.random.seed(seed)
        with autograd.record():
            means, loss = self.losses(whole, labels)
        loss.backward()
        statistics: List[Dict[str, Any]] = []
        ends = np.cumsum([len(part) for part in parts])
        for number, (part, end) in enumerate(zip(parts, ends)):
            with devices.kept_statistics(self.net) as moved:
                mx.random.seed((seed + number * 2**20) % 2**31)
                with autograd.record():
                    again = self.net(images.normalise(part, ctx))
                autograd.backward(flat(again), [head.grad[end - len(part) : end] for head in heads])
            statistics.append(moved)
        devices.set_statistics(self.net, statistics)
        return means


def means_of(
    F: Any, experiment: Experiment, ranking: Callable, classification: Callable, outputs: Tuple, labels: Any
) -> List:
    """[the mean of each loss of a batch, (1,)]: of the ranking and, if `experiment` has it, the classification loss.

    F: mx.nd, or mx.sym for the graph that another engine runs.  outputs: (embedding, logits, branches) of the network.
    """
    embedding, logits, branches = outputs  # (B, D), (B, M), [n x (B, D / n)]
    vectors_of = ranked(experiment, embedding, branches)
    if getattr(ranking, "of_proxies", False):
        logits, cosines = F.split(logits, num_outputs=2, axis=1)
        vectors_of = [cosines]
    means = [F.add_n(*[ranking(vectors, labels).mean() for vectors in vectors_of])]
    if experiment.classification:
        means.append(classification(logits, labels).mean())
    return means


def say_batch_norms(experiment: Experiment) -> None:
    """Log whether batch norms are trained, of a backbone where that makes a difference."""
    if experiment.usually_frozen and experiment.frozen_batch_norm:
        log.info("the batch norms of %s stay as they are (--no-frozen-batch-norm trains them)", experiment.backbone)
    elif experiment.usually_frozen:
        log.warning(
            "the batch norms of %s are trained, which made it worse on photos: leave out --no-frozen-batch-norm",
            experiment.backbone,
        )


def flat(outputs: Tuple) -> List:
    """[embedding, logits, *branches] of a network's outputs."""
    embedding, logits, branches = outputs
    return [embedding, logits, *branches]


def ranked(experiment: Experiment, embedding: Any, branches: Sequence) -> Sequence:
    """The vectors (B, D) that get a ranking loss each: the embedding, or all branches in architecture A (Figure 2a)."""
    return branches if experiment.architecture == "A" else [embedding]

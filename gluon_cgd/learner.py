"""One update of a network by both losses of a batch: on one device or several, whole or in parts."""

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from gluon_cgd import losses
from gluon_cgd.datasets import images
from gluon_cgd.machine import devices, fusion


class Learner:
    """A network, its losses and Adam; `step` learns from a batch.

    net: a CGD with values, on `ctx`, a device or a list of them that share each batch.
    parts: of a batch on one device, one after the other: the memory of one of them, for a forward pass more. The losses
        see the batch whole, as with several devices; batch norm normalises each part alone, as each device does.
    Raises ValueError for a batch that cannot be split so.
    """

    def __init__(self, experiment, net, ctx, parts=1):
        self.experiment, self.net, self.parts = experiment, net, parts
        self.devices = devices.listed(ctx)
        if parts < 1:
            raise ValueError(f"a batch in {parts} parts cannot be: --parts must be at least 1")
        if parts > 1 and len(self.devices) > 1:
            raise ValueError(
                f"{parts} parts are for one device: the {len(self.devices)} devices named split each batch already"
            )
        if parts > 1:
            devices.check_batch(experiment.batch_size, parts, "parts")
        self.ranking = losses.RANKING[experiment.loss](experiment)
        self.classification = losses.SmoothedSoftmaxLoss(experiment.smoothing, experiment.temperature)
        for block in (net, self.ranking, self.classification):
            block.hybridize(static_alloc=True, static_shape=True)
        if self.devices[0].device_type == "cpu":
            fusion.fuse_relus(net)
        # Without the classification loss the classifier stays as it is
        unused = [] if experiment.classification else list(net.classifier.collect_params().values())
        parameters = net.collect_params().values()
        # Those alone: the trainer's first step copies all that it has from the first device to the others
        self.learned = [one for one in parameters if one not in unused and one.grad_req != "null"]
        if parts > 1:
            for parameter in self.learned:
                parameter.grad_req = "add"
        adam = {"learning_rate": experiment.learning_rate, "wd": experiment.weight_decay}
        self.trainer = gluon.Trainer(self.learned, "adam", adam, kvstore="device", update_on_kvstore=False)

    def step(self, batch, labels, seed):
        """One update by uint8 (B, H, W, 3) and labels (B,), an array on the first device.

        seed: of what is drawn on the way. Returns the mean of each loss (ranking, classification), (2,), there.
        """
        mx.random.seed(seed)
        if self.parts > 1:
            means = self._by_parts(np.array_split(batch, self.parts), labels, seed)
        else:
            with autograd.record():
                found = [self.net(part) for part in images.parts(batch, self.devices)]  # (B, 3, H, W) in all
                means, loss = self.losses(*devices.gathered(found), labels)
            loss.backward()
        self.trainer.step(1)  # a device's gradient is its part of the whole batch's: the trainer adds them up
        return mx.nd.concat(*means, dim=0)

    def losses(self, embedding, logits, branches, labels):
        """([the mean of each loss, (1,)], their sum): weighted 1:1."""
        means = [self.ranking(one, labels).mean() for one in ranked(self.experiment, embedding, branches)]
        means = [mx.nd.add_n(*means)]
        if self.experiment.classification:
            means.append(self.classification(logits, labels).mean())
        return means, mx.nd.add_n(*means)

    def _by_parts(self, parts, labels, seed):
        """The means of the losses, the gradients left with the parameters. What is drawn is the same in both passes."""
        ctx = self.devices[0]
        for parameter in self.learned:
            parameter.zero_grad()
        with devices.kept_statistics(self.net):
            outputs = []
            for number, part in enumerate(parts):
                mx.random.seed((seed + number * 2**20) % 2**31)
                with autograd.train_mode():  # and not recorded
                    embedding, logits, branches = self.net(images.normalise(part, ctx))
                outputs.append((embedding.copy(), logits.copy(), [branch.copy() for branch in branches]))
                mx.nd.waitall()  # one part's memory at a time
        whole = devices.gathered(outputs)
        heads = flat(whole)
        for head in heads:
            head.attach_grad()
        mx.random.seed(seed)
        with autograd.record():
            means, loss = self.losses(*whole, labels)
        loss.backward()
        found = []
        ends = np.cumsum([len(part) for part in parts])
        for number, (part, end) in enumerate(zip(parts, ends)):
            with devices.kept_statistics(self.net) as moved:
                mx.random.seed((seed + number * 2**20) % 2**31)
                with autograd.record():
                    outputs = self.net(images.normalise(part, ctx))
                autograd.backward(flat(outputs), [head.grad[end - len(part) : end] for head in heads])
            found.append(moved)
        devices.set_statistics(self.net, found)
        return means


def flat(outputs):
    """[embedding, logits, *branches] of what a network gives."""
    embedding, logits, branches = outputs
    return [embedding, logits, *branches]


def ranked(experiment, embedding, branches):
    """What has a ranking loss of its own: the combined embedding, or each branch in architecture A (Figure 2a)."""
    return branches if experiment.architecture == "A" else [embedding]

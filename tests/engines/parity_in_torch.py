"""PyTorch's side of tests/engines/parity.py: reads names of files from stdin, answers each with a line of JSON."""

import json
import os
import sys

import numpy as np
import torch

from gluon_cgd.engines import adam, draws, graph
from gluon_cgd.engines.pytorch import Network

LOSS_HEADS = ("ranking", "classification")


def steps(arrays, about, kind):
    """(heads, gradients and statistics of the first step; means of each; values at the end) with numbers of `kind`."""
    values = part(arrays, "value")
    network = Network(graph.parse(about["text"]), about["heads"], values, about["learned"]).to(getattr(torch, kind))
    learned = [network.values()[name] for name in about["learned"]]
    optimizer, means, first = adam.Adam(learned, about["decay"]), [], None
    labels = torch.from_numpy(arrays["labels"])
    for number, pictures in enumerate(arrays["pictures"]):
        inputs = {"data": torch.from_numpy(pictures).to(learned[0].dtype), "label": labels}
        heads = network(inputs, uniform=draws.Uniform(number).draw)
        losses = [heads[head] for head in LOSS_HEADS if head in heads]
        network.zero_grad()
        sum(losses).backward()
        means.append([loss.item() for loss in losses])
        gradients = {name: network.values()[name].grad for name in about["learned"]}
        if first is None:
            first = tuple(map(copied, (heads, gradients, network.values())))
        optimizer.step(learned, list(gradients.values()), about["rate"])
    return (*first, np.array(means), copied(network.values()))


def copied(tensors):
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def part(arrays, what):
    return {name.partition(":")[2]: arrays[name] for name in arrays.files if name.startswith(f"{what}:")}


def product(values, others, names):
    """The scalar product of two vectors, summed up array by array: concatenated they would fill the memory."""
    return sum(float(np.vdot(np.float64(values[name]), np.float64(others[name]))) for name in names)


def distance(values, others, names):
    """The length of the difference of two vectors."""
    return np.sqrt(sum(float(np.sum((np.float64(values[name]) - others[name]) ** 2)) for name in names))


def apart(values, others, names):
    """The length of the difference of two vectors, in lengths of the second."""
    return float(distance(values, others, names) / np.sqrt(product(others, others, names)))


def farthest(values, others, names):
    """The largest difference of two values, in terms of the largest of its array."""
    scales = {name: max(float(np.abs(others[name]).max()), 1e-3) for name in names}
    return max((float(np.abs(values[name] - others[name]).max()) / scales[name] for name in names), default=0.0)


def compare(arrays):
    """How far PyTorch is from MXNet, by name."""
    about = json.loads(str(arrays["about"]))
    learned, found = about["learned"], {}
    exact = {what: part(arrays, f"float64 {what}") for what in ("head", "gradient", "statistic")}
    rounded = {what: part(arrays, f"float32 {what}") for what in exact}
    for suffix, kind, mxnet in (("", "float32", rounded), ("64", "float64", exact)):
        heads, gradients, values, means, end = steps(arrays, about, kind)
        found[f"loss{suffix}"] = float(np.abs(means[0] - arrays[f"{kind} means"][0]).max())
        found[f"embedding{suffix}"] = float(np.abs(heads["embedding"] - mxnet["head"]["embedding"]).max())
        found[f"statistics{suffix}"] = farthest(values, mxnet["statistic"], mxnet["statistic"])
        found[f"gradient{suffix}"] = apart(gradients, exact["gradient"], learned)  # from MXNet's in float64
        found[f"steps{suffix}"] = float(np.abs(means[-1] - arrays[f"{kind} means"][-1]).max())
        start, last = part(arrays, "value"), part(arrays, f"{kind} end")
        found[f"way{suffix}"] = float(distance(end, last, learned) / distance(last, start, learned))
        if kind == "float32":
            one, other = gradients, rounded["gradient"]
            lengths = product(one, one, learned) * product(other, other, learned)
            found["cosine"] = float(1 - product(one, other, learned) / np.sqrt(lengths))
        del gradients, values, end, start, last
    found["loss_of_mxnet"] = float(np.abs(arrays["float32 means"][0] - arrays["float64 means"][0]).max())
    found["embedding_of_mxnet"] = float(np.abs(rounded["head"]["embedding"] - exact["head"]["embedding"]).max())
    found["gradient_of_mxnet"] = apart(rounded["gradient"], exact["gradient"], learned)
    found["statistics_of_mxnet"] = farthest(rounded["statistic"], exact["statistic"], exact["statistic"])
    return found


if __name__ == "__main__":
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    for line in sys.stdin:
        print(json.dumps(compare(np.load(line.rstrip("\n")))), flush=True)

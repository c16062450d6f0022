"""PyTorch's side of tests/engines/test_pytorch.py: one line of JSON, {what: what came of it}."""

import copy
import json
import sys

import numpy as np
import torch

from gluon_cgd.engines import draws, graph
from gluon_cgd.engines.pytorch import Network


def refusal(function):
    """What ValueError the function raises."""
    try:
        function()
    except ValueError as error:
        return str(error)
    return None


def gradient(network, found):
    """All gradients of the loss, one behind the other."""
    network.zero_grad()
    (found["ranking"] + found["classification"]).backward()
    return torch.cat([value.grad.flatten() for _, value in sorted(network.named_parameters())])


def main():
    stored = np.load(sys.argv[1])
    about = json.loads(str(stored["about"]))
    values = {name.partition(":")[2]: stored[name] for name in stored.files if name.startswith("value:")}
    inputs = {"data": torch.from_numpy(stored["pictures"]), "label": torch.from_numpy(stored["labels"])}
    network, found = Network(graph.parse(about["text"]), about["heads"], values, about["learned"]), {}
    found["names"] = sorted(network.values()) == sorted(values)
    found["learned"] = sorted(n for n, v in network.values().items() if v.requires_grad) == sorted(about["learned"])
    # Each on a copy: training moves the statistics
    whole = copy.deepcopy(network)
    at_once = whole(inputs, uniform=draws.Uniform(3).draw)
    expected = gradient(whole, at_once)
    halves = copy.deepcopy(network)
    outputs = halves(
        {"data": inputs["data"]}, [head for head in about["heads"] if head not in ("ranking", "classification")]
    )
    losses = halves({**outputs, "label": inputs["label"]}, ["ranking", "classification"], draws.Uniform(3).draw)
    found["halves"] = [float((losses[name] - at_once[name]).abs()) for name in losses]
    found["halves' gradient"] = float((gradient(halves, losses) - expected).norm() / expected.norm())
    low = copy.deepcopy(network).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = low(inputs, uniform=draws.Uniform(3).draw)
    one = gradient(low, rounded)
    found["bf16"] = float(one @ expected / one.norm() / expected.norm())
    found["bf16 kinds"] = [str(rounded[name].dtype) for name in ("ranking", "embedding", "logits")]
    network.eval()
    before = {name: value.clone() for name, value in network.values().items()}
    with torch.no_grad():
        found["inference"] = network({"data": inputs["data"]}, ["embedding"])["embedding"].tolist()
    found["unchanged"] = all(bool((value == before[name]).all()) for name, value in network.values().items())
    found["same again"] = network({"data": inputs["data"]}, ["embedding"])["embedding"].tolist() == found["inference"]
    found["no label"] = refusal(lambda: network({"data": inputs["data"]}, ["classification"]))
    found["no numbers"] = refusal(lambda: network(inputs, ["ranking"]))
    some = dict(list(values.items())[1:])
    found["no value"] = refusal(lambda: Network(graph.parse(about["text"]), about["heads"], some, []))
    found["not there"] = refusal(lambda: Network(graph.parse(about["text"]), about["heads"], values, ["x.weight"]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()

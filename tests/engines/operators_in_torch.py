"""PyTorch's side of tests/engines/test_operators.py: answers a file of graphs with a line of JSON for each."""

import json
import sys

import numpy as np
import torch

from gluon_cgd.engines import graph
from gluon_cgd.engines.pytorch import Network

if __name__ == "__main__":
    arrays = np.load(sys.argv[1])
    for number, name in enumerate(json.loads(str(arrays["names"]))):
        stored = {key.split(":")[1]: arrays[key] for key in arrays.files if key.startswith(f"{number}:")}
        values = {key.partition(" ")[2]: value for key, value in stored.items() if key.startswith("value ")}
        try:
            heads = [f"head{place}" for place in range(sum(key.startswith("head") for key in stored))]
            network = Network(graph.parse(str(stored["text"])), heads, values, list(values))
            outputs = network({}, uniform=None)
            head_gradients = [torch.from_numpy(stored[f"weight{place}"]) for place in range(len(heads))]
            tracked = [
                (outputs[head], weight) for head, weight in zip(heads, head_gradients) if outputs[head].requires_grad
            ]
            if tracked:
                torch.autograd.backward(*zip(*tracked))
            apart = [float(np.abs(outputs[head].detach().numpy() - stored[head]).max()) for head in heads]
            shapes = [outputs[head].shape == stored[head].shape for head in heads]
            for key, value in network.values().items():
                gradient = np.zeros(value.shape) if value.grad is None else value.grad.numpy()
                apart.append(float(np.abs(gradient - stored[f"gradient {key}"]).max()))
            print(json.dumps([name, all(shapes), max(apart)]))
        except ValueError as error:
            print(json.dumps([name, False, str(error)]))

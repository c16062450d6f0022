"""A trained model as one ONNX file that needs no MXNet; it is kept only if it computes the same as MXNet."""

import json
from pathlib import Path

import numpy as np

from gluon_cgd.evaluate import NotFinite, embed, features_of
from gluon_cgd.export import graph
from gluon_cgd.files.whole import replacing
from gluon_cgd.machine import facts
from gluon_cgd.models import onnx_model
from gluon_cgd.models.onnx_file import HoldsNaN
from gluon_cgd.similarity import learned_of, weights_of

LARGEST = 1e-4  # difference to MXNet of a number of the embedding, whose length is 1


def export(net, experiment, file, features=False, **about):
    """Write `net`, a network of `experiment` on the CPU, to `file`; return its largest difference to MXNet.

    features: include what heatmaps need.  about: more entries of the file's metadata, ready for JSON, or others.
    Raises ValueError, and leaves no file, if a number of an embedding differs from MXNet's by more than LARGEST.
    """
    graph.check_onnx()
    import onnx

    from gluon_cgd.models.zoo import name_of
    from gluon_cgd.runs.parameters import parameters_hash

    model = graph.model_of(net, experiment, features)
    outputs = model.graph.output
    shapes = {output.name: [size.dim_value for size in output.type.tensor_type.shape.dim] for output in outputs}
    metadata = dict(
        fc_layers=len(weights_of(net)),
        name=name_of(experiment),
        input_size=experiment.input_size,
        dim=experiment.dim,
        descriptors=experiment.descriptors,
        features=shapes["features"][1:] if features else None,
        projections=shapes.get("projections"),
        **({"whitening": shapes["whitening"]} if "whitening" in shapes else {}),
        parameters_sha256=parameters_hash(net),
        commit=facts.commit(),
        experiment=experiment.to_dict(),
    )
    learned = learned_of(net)
    metadata.update({"learned": learned} if learned else {}, **about)
    model.producer_name = "gluon_cgd"
    model.doc_string = (
        f"{metadata['name']}, a model of gluon_cgd (arXiv 1903.10663). Input: pictures, uint8 RGB of shape "
        f"(N, {experiment.input_size}, {experiment.input_size}, 3), resized without keeping the aspect. "
        f"Output: embedding, float32 (N, {experiment.dim}), of unit length, so that a dot product is a cosine."
    )
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()}
    onnx.helper.set_model_props(model, {"format": onnx_model.FORMAT, **texts})
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        Path(temporary).write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(temporary, full_check=True)
        return compared(temporary, net, experiment, features)


def compared(file, net, experiment, features):
    """The largest difference of the model in `file` to `net` on random coloured squares, one picture and three.

    Differences of the feature maps and of the FC layers' weights are relative to their largest value. Raises ValueError
    for a difference above LARGEST.
    """
    import mxnet as mx

    side, rng = experiment.input_size, np.random.default_rng(0)
    squares = rng.integers(
        0, 256, (4, 8, 8, 3), np.uint8
    )  # plain noise looks grey to a network that was trained on photographs
    pictures = squares.repeat(side // 8, axis=1).repeat(side // 8, axis=2)
    try:
        exported, cpu = onnx_model.load_exported(file), mx.cpu()
        pairs = [(exported.embed(part), embed(net, part, cpu, len(part))) for part in (pictures[:1], pictures[1:])]
        if features:
            more = [(exported.features(pictures), features_of(net, pictures, cpu))]
            more += zip(exported.projections(), weights_of(net))
            for values, expected in more:
                scale = max(float(np.abs(expected).max()), 1e-30)
                pairs.append((values / scale, expected / scale))
        differences = [float(np.abs(values - expected).max()) for values, expected in pairs]
    except (NotFinite, HoldsNaN):
        differences = [float("nan")]
    if not all(difference <= LARGEST for difference in differences):  # NaN is not
        raise ValueError(
            f"the exported model differs from MXNet's by {max(differences):.1e}, where at most {LARGEST:.0e} is "
            "rounding: nothing is written; a model whose training diverged cannot be exported"
        )
    return max(differences)

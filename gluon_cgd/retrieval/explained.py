"""Heatmaps of a result: what makes it like the queries, and what keeps it apart from them."""

import numpy as np

from gluon_cgd.similarity import decompose


def explainer(model, query):
    """A function of a result: its Similarity with `query`, which passes through the network once for all results."""
    (of_query,), how = model.features([query]), model.decomposing()
    return lambda result: decompose(of_query, *model.features([result]), **how)


def alike(similarities):
    """[map of each query, ..., map of the result]: what each position adds to the cosine with the queries' mean.

    similarities: of the result with each of the queries. The map of the result, and those of all queries together, sum
    to the cosine.
    """
    mean = sum(similarity.pictures[0].embedding for similarity in similarities)
    length = np.sqrt(mean @ mean)
    return [each.map1 / length for each in similarities] + [sum(each.map2 for each in similarities) / length]


def apart(similarities):
    """As `alike`, what each position adds to 1 - cosine."""
    firsts, result = [similarity.pictures[0] for similarity in similarities], similarities[0].pictures[1]
    mean = sum(picture.embedding for picture in firsts)
    length = np.sqrt(mean @ mean)
    missing = mean / length - result.embedding
    return [sum(picture.maps(missing)) / length for picture in firsts] + [sum(result.maps(-missing))]

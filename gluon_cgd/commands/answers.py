"""What `search` prints of what it found: pictures or folders, those that reach a threshold, as text or JSON."""

import argparse
import os
from typing import List, NamedTuple, Optional

from gluon_cgd.files.printable import printable
from gluon_cgd.retrieval import answers, exact
from gluon_cgd.retrieval.reranking import METHODS, effect, reranked
from gluon_cgd.retrieval.threshold import Threshold, calibrate, parse

SHOWN = 3  # pictures of a folder in a line


class Found(NamedTuple):
    """What a search found. nearest: the nearest picture, whether it reaches the threshold or not.

    groups: with --by-folder one for each folder, else one for all.  threshold: None if none is wanted.
    """

    groups: List[answers.Group]
    nearest: Optional[answers.Answer]
    threshold: Optional[Threshold]


def add_answers(p):
    """The flags of `search` that decide what of what it finds is shown."""
    help_text = (
        "show only results that are this much alike, or say that there is none: a cosine, as 0.8, or a rate of false "
        "matches, as 5%%, measured on the index. Without a value 5%%, or 0.1%% of pairs if it has no folders"
    )
    p.add_argument("--threshold", type=no_file, nargs="?", const="", metavar="COSINE_OR_RATE", help=help_text)
    help_text = "show the -k nearest folders, each with its pictures; the query itself does not count"
    p.add_argument("--by-folder", action="store_true", help=help_text)
    measured = ". ".join(f"{method}: {'; '.join(effect(method))}" for method in METHODS).replace("%", "%%")
    help_text = f"order the results also by what is near to them, which does not always help. Measured: {measured}"
    p.add_argument("--rerank", choices=tuple(METHODS), help=help_text)


def no_file(text):
    """`text`, the value of --threshold. Raises ArgumentTypeError for the query or the index, typed behind it."""
    try:
        parse(text)
    except ValueError as error:
        if os.path.lexists(text):
            rule = f"{text} is a file or a folder: write --threshold behind the query"
            raise argparse.ArgumentTypeError(rule) from error
    return text


def looking_up(method, snapshot, query, engine):
    """The function of a number of pictures: (cosines, rows) nearest to `query` (1, D), re-ranked by `method` if any."""

    def look(vector, count):
        return exact.search(snapshot, vector[None], count, engine)[0]

    return reranked(method, look, snapshot, query[0]) if method else lambda count: look(query[0], count)


def find(options, snapshot, look_up, own):
    """The Found of a search. look_up: a number of pictures -> (cosines, rows).  own: the paths of the query."""
    threshold = None if options.threshold is None else calibrate(snapshot, options.threshold)
    least = threshold.cosine if threshold else None
    if options.by_folder:
        groups = answers.nearest_folders(snapshot, look_up, options.k, own, least)
        first = answers.nearest(snapshot, look_up, 1 + len(own)) if threshold else []
        others = [answer for answer in first if answer.path not in own]
        return Found(groups, others[0] if others else None, threshold)
    results = answers.nearest(snapshot, look_up, options.k)
    kept = [answer for answer in results if least is None or answer.cosine >= least]
    return Found([answers.Group("", kept, len(results))] if kept else [], results[0] if results else None, threshold)


def lines(found, own, by_folder):
    """Yield the lines that are printed of `found`."""
    if found.threshold and not found.groups:
        nearest = found.nearest
        yield "none reaches the threshold" + (f": {nearest.cosine:.4f}  {printable(nearest.path)}" if nearest else "")
    elif by_folder:
        for rank, (folder, members, looked_at) in enumerate(found.groups, 1):
            shown = ", ".join(f"{printable(answer.name)} {answer.cosine:.4f}" for answer in members[:SHOWN])
            more = ", ..." * (len(members) > SHOWN)
            yield (
                f"{rank:3}  {members[0].cosine:.4f}  {printable(folder)}  ({len(members)} of the {looked_at:,} nearest "
                f"pictures: {shown}{more})"
            )
    else:
        for rank, answer in enumerate(found.groups[0].answers if found.groups else (), 1):
            is_there = os.path.exists(answer.path)
            note = "  (the query itself)" if answer.path in own else "" if is_there else "  (not there any more)"
            yield f"{rank:3}  {answer.cosine:.4f}  {printable(answer.path)}{note}"


def as_values(found, own, by_folder):
    """`found` for JSON: its "results", and its "threshold" if there is one."""

    def values(answer):
        return dict(answer._asdict(), is_query=answer.path in own)

    if by_folder:
        results = [dict(values(group.answers[0]), pictures=list(map(values, group.answers))) for group in found.groups]
    else:
        results = [values(answer) for group in found.groups for answer in group.answers]
    if not found.threshold:
        return dict(results=results)
    return dict(threshold=found.threshold._asdict(), nearest=found.nearest and values(found.nearest), results=results)

"""The card of a trained model: what it is, what it learned from, how good it is, and which classes it confuses."""

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Dict, NamedTuple, Optional

from gluon_cgd import datasets
from gluon_cgd.cards import confusion
from gluon_cgd.cards.markdown import Markdown, code, shell
from gluon_cgd.cards.markdown import markdown as as_markdown
from gluon_cgd.datasets import folders
from gluon_cgd.datasets.records import ceiling, certainty, counted
from gluon_cgd.datasets.tested_part import check_unchanged
from gluon_cgd.datasets.training_part import said_of_copies, trained_of
from gluon_cgd.experiment import Experiment
from gluon_cgd.files.whole import write_text
from gluon_cgd.retrieval.precision import Estimate, estimates, per_query

log = logging.getLogger(__name__)


class Searched(NamedTuple):
    """How well the test pictures are found. where: in what, in words.  pairs: as `confusion.pairs` returns them.

    precision: {"mAP@R": Estimate, ...}, None where no test picture has another one of its class.
    """

    where: str
    recall: Dict[str, float]
    pairs: Counter
    precision: Dict[str, Optional[Estimate]]


def write_card(folder, net, experiment, split, ctx, which="last", flags=(), out=None):
    """Write card.md and card.png of the finished run in `folder` into it, or into the folder `out`; return their paths.

    net: the model with the run's `which` ("last" or "best") parameters.  split: the data it learned from and was tested
    on.  flags: what the commands on the card need besides the checkpoint. Raises ValueError if `split` is not the data
    of the run.
    """
    from gluon_cgd.cards.picture import draw
    from gluon_cgd.datasets.cache import cached
    from gluon_cgd.evaluate import embed, searches
    from gluon_cgd.recall import recall_of
    from gluon_cgd.runs import collapse, findings
    from gluon_cgd.runs.log import losses
    from gluon_cgd.runs.results import read_result

    folder = Path(folder)
    result = read_result(folder / "result.json")
    trained = trained_of(experiment.dataset, result, folder / "result.json")
    check_unchanged(split, experiment.dataset, trained, "the card would mix both")
    found = searches(
        lambda pictures: embed(net, pictures, ctx), split, lambda records: cached(records, experiment.input_size)
    )
    ks, logged = datasets.recall_ks(experiment.dataset), losses(folder / "train.log")
    searched = [
        Searched(where, recall_of(ks, embeddings), confusion.pairs(embeddings), estimates(per_query(ks, embeddings)))
        for where, embeddings in found
    ]
    for where, recall, *_ in searched if len(searched) > 1 else ():
        scores = "\t".join(f"{name}={100 * value:.2f}" for name, value in recall.items())
        log.info("%s parameters, %s: %s", which, where, scores)
    result = findings.completed(result, logged, which, collapse.spread(found[0][1]))
    names = datasets.class_names(experiment.dataset)
    class_name = (lambda label: names[label]) if names else str
    text = markdown(folder, result, experiment, split, searched[0].pairs, class_name, which, flags, searched)
    where, pairs = searched[-1].where, searched[-1].pairs
    history = result.get("history", [])
    out = Path(out or folder)
    out.mkdir(parents=True, exist_ok=True)
    draw(logged, history, pairs, class_name, out / "card.png", where * (len(searched) > 1))
    write_text(out / "card.md", text)
    return out / "card.md", out / "card.png"


def markdown(folder, result, experiment, split, pairs, class_name, which="last", flags=(), searched=()):
    """The card as Markdown text.

    pairs: as `confusion.pairs` returns them.  class_name: a function from labels to names.  searched: as `pairs` and,
    where that is another number, in the whole collection: [Searched, ...].  Rest: see `write_card`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from gluon_cgd.descriptors import DESCRIPTORS  # here: it imports MXNet, which other commands do not need
    from gluon_cgd.models.zoo import name_of
    from gluon_cgd.runs import collapse, findings, regime

    own = datasets.is_own(experiment.dataset)
    blocks = dict(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=True)
    blocks["finalize"] = as_markdown  # whatever comes from outside: every expression that is not Markdown
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, **blocks)
    four = "{:.4f}".format
    environment.filters.update(
        code=code,
        markdown=as_markdown,
        shown=shown,
        estimate=estimate,
        cosine=lambda value: "-" if value is None else four(value),
    )
    return environment.get_template("card.md.jinja").render(
        name=name_of(experiment),
        dataset=Path(experiment.dataset).name or experiment.dataset,  # "." has no name
        experiment=experiment,
        descriptors=[DESCRIPTORS[letter].__name__ for letter in experiment.descriptors],
        began=began(experiment),
        counts=counted(split),
        ceiling=ceiling(split),
        doubts=doubts(split, result),
        one_of_each=own and bool(split.gallery) and split.gallery == split.train,  # see folders.divide
        own=own,
        parted=own and folders.listed(experiment.dataset, allow_partial=True).parted,
        result=result,
        branches=result.get("branches", {}).get("last", {}),
        warnings=findings.warnings(result, which),
        evaluations={stage: collapse.evaluation(result, stage) for stage in ("untrained", "last", "best")},
        point=collapse.beside(experiment),
        regime=regime.sentence(result),
        which=which,
        classes=confusion.worst_first(pairs),
        searched=searched if len(searched) > 1 else (),
        measured=searched,
        found=confusion.worst_first(searched[-1].pairs if searched else pairs),
        boxes=any(record.box for record in split.query),
        class_name=class_name,
        changes={name: value for name, value in experiment.changes().items() if name != "dataset"},
        paper=Experiment(),
        checkpoint=shell(folder),
        flags=Markdown("".join(f" {shell(flag)}" for flag in flags)),
        photos=shell(experiment.dataset) if Path(experiment.dataset).is_dir() else "photos",
    )


def began(experiment):
    """What the backbone started from, in words; a result does not tell whether --weights named another file."""
    from gluon_cgd.backbones import recipe_of  # here, as in `markdown`: they import MXNet
    from gluon_cgd.models.pretrained import DATASETS

    if not experiment.pretrained:
        return "random parameters"
    library, colon, _ = experiment.backbone.partition(":")
    if colon:  # not all of them are ImageNet's
        own = "the parameters in that file" if library == "onnx" else f"the parameters that {library} has for it"
    else:
        dataset, _ = DATASETS.get(recipe_of(experiment.backbone).publisher, ("ImageNet", 224))
        own = f"parameters learned on {dataset}"
    return f"{own} (or in the file of --weights)"


def doubts(split, result):
    """Sentences for what makes the recall of `result` say less than it seems."""
    certain = certainty(split, [int(name[2:]) for name in result["last"] if re.fullmatch("R@[0-9]+", name)])
    return [certain] * bool(certain) + said_of_copies(result.get("training"))


def estimate(value):
    """An Estimate in %, with its interval: "78.1 (69.8 to 86.5)"."""
    return "-" if value is None else "{:.1f} ({:.1f} to {:.1f})".format(*(100 * number for number in value))


def shown(value):
    """A value of an experiment as text for a table: `0.6 0.8`, `yes`, 32.7."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "as the backbone"}[value]
    if isinstance(value, tuple):
        return " ".join(f"{number:.3g}" for number in value) or "never"
    return f"{value:.6g}" if isinstance(value, float) else str(value)

"""The card of a trained model: what it is, what it learned from, how good it is, and which classes it confuses."""

import shlex
from pathlib import Path

from gluon_cgd import datasets
from gluon_cgd.cards import confusion
from gluon_cgd.datasets import folders
from gluon_cgd.datasets.records import ceiling, counted
from gluon_cgd.experiment import Experiment
from gluon_cgd.files.grid import escaped
from gluon_cgd.files.whole import write_text


def write_card(folder, net, experiment, split, ctx, which="last", flags=()):
    """Write card.md and card.png of the finished run in `folder`; return their paths.

    net: the model with the run's `which` ("last" or "best") parameters.  split: the data it learned from and was tested
    on.  flags: what the commands on the card need besides the checkpoint. Raises ValueError if `split` is not the data
    of the run.
    """
    from gluon_cgd.cards.picture import draw
    from gluon_cgd.datasets.cache import cached, fingerprint
    from gluon_cgd.evaluate import embedded
    from gluon_cgd.runs import collapse
    from gluon_cgd.runs.log import losses
    from gluon_cgd.runs.results import read_result

    folder = Path(folder)
    result = read_result(folder / "result.json")
    if result.get("data") not in (None, fingerprint([record for part in split for record in part or ()])):
        raise ValueError(
            f"{experiment.dataset} has changed since {folder} was trained on it, and the card would mix both: "
            "restore the pictures, or train again"
        )
    query, gallery = (records and cached(records, experiment.input_size) for records in split[1:])
    embeddings = embedded(net, split, query, gallery, ctx)
    pairs, logged = confusion.pairs(embeddings), losses(folder / "train.log")
    result = collapse.completed(result, logged, which, collapse.spread(embeddings))
    names = datasets.class_names(experiment.dataset)
    class_name = (lambda label: names[label]) if names else str
    text = markdown(folder, result, experiment, split, pairs, class_name, which, flags)
    draw(logged, result.get("history", []), pairs, class_name, folder / "card.png")
    write_text(folder / "card.md", text)
    return folder / "card.md", folder / "card.png"


def markdown(folder, result, experiment, split, pairs, class_name, which="last", flags=()):
    """The card as Markdown text.

    pairs: as `confusion.pairs` returns them.  class_name: a function from labels to names.  Rest: see `write_card`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from gluon_cgd.descriptors import DESCRIPTORS  # here: it imports MXNet, which other commands do not need
    from gluon_cgd.models.zoo import name_of
    from gluon_cgd.runs import collapse

    own = datasets.is_own(experiment.dataset)
    blocks = dict(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, **blocks)
    four = "{:.4f}".format
    environment.filters.update(escaped=escaped, shown=shown, cosine=lambda value: "-" if value is None else four(value))
    return environment.get_template("card.md.jinja").render(
        name=name_of(experiment),
        dataset=Path(experiment.dataset).name,
        experiment=experiment,
        descriptors=[DESCRIPTORS[letter].__name__ for letter in experiment.descriptors],
        counts=counted(split),
        ceiling=ceiling(split),
        own=own,
        parted=own and folders.listed(experiment.dataset, allow_partial=True).parted,
        result=result,
        branches=result.get("branches", {}).get("last", {}),
        warnings=collapse.warnings(result, which),
        evaluations={stage: collapse.evaluation(result, stage) for stage in ("untrained", "last", "best")},
        point=collapse.beside(experiment),
        which=which,
        classes=confusion.worst_first(pairs),
        class_name=class_name,
        changes={name: value for name, value in experiment.changes().items() if name != "dataset"},
        paper=Experiment(),
        checkpoint=shlex.quote(str(folder)),
        flags="".join(f" {shlex.quote(flag)}" for flag in flags),
        photos=shlex.quote(experiment.dataset) if Path(experiment.dataset).is_dir() else "photos",
    )


def shown(value):
    """A value of an experiment as text for a table: `0.6 0.8`, `yes`, 32.7."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "as the backbone"}[value]
    if isinstance(value, tuple):
        return " ".join(f"{number:.3g}" for number in value) or "never"
    return f"{value:.6g}" if isinstance(value, float) else escaped(value)

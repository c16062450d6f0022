"""`python -m gluon_cgd check`: what is doubtful in a labelled collection. Nothing is deleted."""

import json

import numpy as np

from gluon_cgd import datasets
from gluon_cgd.commands.options import OWN_RUN, add_ctx, add_data, add_model, choose_model, model_of
from gluon_cgd.commands.output import say
from gluon_cgd.datasets import settings
from gluon_cgd.datasets.records import counted, is_searched_in_training, parts_of
from gluon_cgd.files.printable import printable
from gluon_cgd.models.opened import open_model
from gluon_cgd.retrieval import doubtful, duplicates

TITLES = {
    "unreadable": "cannot be used",
    "in_both_parts": "the same picture is in the training part and in the test",
    "in_two_classes": "the same picture is in two classes",
    "contradicted": "all neighbours are of one other class",
    "one_class": "the model cannot tell two classes apart, which may be one",
    "blurred": "blurred",
    "empty": "of nearly one colour",
}
SHOWN = 10  # findings of each kind in the text


def add_command(p):
    """The flags of `check`."""
    p.description = (
        "Prints what is doubtful in a labelled collection: the same picture in training and test or in two classes, "
        "labels that all neighbours contradict, classes that are one, blurred and empty pictures. It deletes nothing."
    )
    help_text = f"{', '.join(datasets.NAMES)}, a folder with one folder per class, or a .csv file"
    p.add_argument("dataset", help=help_text)
    add_model(p, default=OWN_RUN)
    add_data(p)
    add_ctx(p, exported=True)
    p.add_argument("--json", action="store_true", help="print JSON, with all findings")
    p.set_defaults(run=command)


def command(options):
    """Print what is doubtful in a collection."""
    _, split, _ = settings.fitted(dict(dataset=options.dataset), options.data, options.allow_partial)
    choose_model(options)
    model = open_model(**model_of(options))
    names = datasets.class_names(options.dataset)
    parts = {}  # {record: the parts it is in}: In-shop's queries may be in the gallery
    # A training part that is searched in is not tested
    for part, records in parts_of(split._replace(gallery=None) if is_searched_in_training(split) else split):
        for record in records:
            parts.setdefault(record, set()).add("training" if part == "training" else "test")
    records = list(parts)
    examined = doubtful.examine(records, model.embed, model.input_size)
    known = [records[place] for place in examined.places]
    found = findings(
        known, [parts[record] for record in known], examined, lambda label: names[label] if names else label
    )
    about = dict(dataset=options.dataset, pictures=len(records), model=model.about["name"])
    if options.json:
        print(json.dumps({**about, **found}))
    else:
        say(f"{options.dataset}: {counted(split)}, by {model.about['name']}")
        for line in lines(found):
            say(line)


def findings(records, parts, examined, class_name):
    """{kind of TITLES: its findings, each a dict for JSON}. parts: of each record, the names of those it is in."""
    labels = np.array([record.label for record in records])
    near = duplicates.neighbours(examined.vectors, np.arange(len(records)))
    same = duplicates.pairs(near, examined.looks)

    def about(place):
        return dict(path=records[place].path, **{"class": class_name(labels[place].item())}, parts=sorted(parts[place]))

    def twice(wanted):
        return [
            dict(pictures=[about(first), about(second)], likeness=value)
            for (first, second), value in same.items()
            if wanted(first, second)
        ]

    return dict(
        unreadable=[dict(error=error) for error in examined.errors],
        in_both_parts=twice(lambda first, second: len(parts[first] | parts[second]) == 2),
        in_two_classes=twice(lambda first, second: labels[first] != labels[second]),
        contradicted=[
            dict(about(place), neighbours=class_name(other), votes=votes)
            for place, other, votes in doubtful.contradicted(labels, near)
        ],
        one_class=[
            dict(classes=[class_name(first), class_name(second)], share=share)
            for first, second, share in doubtful.one_class(examined.vectors, labels, near)
        ],
        blurred=[dict(about(place), blur=blur) for place, blur in doubtful.blurred(examined.looks)],
        empty=[about(place) for place in doubtful.empty(examined.looks)],
    )


def lines(found):
    """Yield the lines that are printed of the `findings`."""
    for kind, title in TITLES.items():
        if found[kind]:
            yield f"{title}: {len(found[kind]):,}"
            for finding in found[kind][:SHOWN]:
                yield f"  {printable(sentence(kind, finding))}"
            if len(found[kind]) > SHOWN:
                yield f"  and {len(found[kind]) - SHOWN:,} more (--json has all)"
    nothing = [title for kind, title in TITLES.items() if not found[kind]]
    if nothing:
        yield f"none: {'; '.join(nothing)}"


def sentence(kind, finding):
    """A finding in words."""
    if kind == "unreadable":
        return finding["error"]
    if kind == "one_class":
        return "{} and {} ({:.0f} % of what one class has)".format(*finding["classes"], 100 * finding["share"])
    if "pictures" in finding:
        both = " and ".join(
            f"{one['path']} ({one['class']}, {' + '.join(one['parts'])})" for one in finding["pictures"]
        )
        return f"{both}, likeness {finding['likeness']:.3f}"
    if kind == "contradicted":
        return (
            f"{finding['path']}: of {finding['class']}, the {finding['votes']} nearest are of {finding['neighbours']}"
        )
    return f"{finding['path']} ({finding['blur']:.2f})" if kind == "blurred" else finding["path"]

"""The runs behind a number of the page: what was trained, how it came out, and where that comes from."""

from html import escape

from gluon_cgd.experiment import REVISION
from reproduce.page import svg
from reproduce.report.comparison import recall
from visualize import curves


def anchor(experiment):
    """The id of the section of its runs."""
    return f"runs-{experiment.key().rpartition('-')[2]}"


def section(experiment, names, results, wanted, which):
    """The runs of one experiment as HTML.

    names: the rows that it is behind, ["Table 1 Both", ...].  results: of its finished runs, as `train.fit` returns
    them.  wanted: how many there should be.  which: "last" or "best", of the recalls of single branches.
    """
    identity, changes = anchor(experiment), experiment.changes()
    told = "".join(f"<code>{escape(f'{name}={value!r}')}</code>, " for name, value in changes.items())
    told = f"{told[:-2]}; all else as in the paper" if changes else "all as in the paper"
    done = f"{len(results)} of {wanted} runs" if len(results) < wanted else counted(len(results), "run")
    parts = [
        f'<section class="run" id="{identity}"><h3>{escape(", ".join(names))}</h3>',
        f"<p>{escape(experiment.dataset)}, {escape(experiment.backbone)}: {done}. Experiment: {told}.</p>",
        recalls(results, names[0], which),
    ]
    with_history = [result for result in results if result.get("history")]
    if with_history:
        title = f"{names[0]}: Recall@1 on the test set over the iterations, {counted(len(with_history), 'run')}"
        drawing = svg.inline(lambda: curves.curves(with_history), f"{identity}-plot", title)
        parts.append(f"<figure>{wide(drawing, title)}</figure>")
    parts.append(f"<details><summary>Where they come from</summary>{origins(experiment, results, names[0])}</details>")
    return "\n".join([*parts, '<p class="back"><a href="#top">to the top</a></p></section>'])


def recalls(results, name, which):
    """A table with a line a run: last and best recalls, those of the branches at `which`, when, and how long."""
    ks = list(dict.fromkeys(k for result in results for k in result["last"]))
    branches = list(dict.fromkeys(b for result in results for b in result.get("branches", {}).get(which, {})))
    parts = [("last evaluation", ks), ("best evaluation", ks), ("branches", branches)]
    first = [f'<th colspan="{len(columns)}">{head}</th>' for head, columns in parts if columns]
    second = [f"<th>{escape(column)}</th>" for _, columns in parts for column in columns]
    two = "".join(f'<th rowspan="2">{head}</th>' for head in ("best at", "iterations", "minutes", "device"))
    head = f'<tr><th rowspan="2">Seed</th>{"".join(first)}{two}</tr><tr>{"".join(second)}</tr>'
    lines = []
    for result in results:
        values = [recall(result, source, k) for source in ("last", "best") for k in ks]
        values += [recall(result, which, branch) for branch in branches]
        cells = ["-" if value is None else f"{value:.2f}" for value in values]
        cells += [result.get("best_iteration", "-"), result.get("iterations", "-")]
        cells += [f"{result['seconds'] / 60:.1f}" if "seconds" in result else "-", result.get("device", "-")]
        body = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{result["seed"]}</th>{body}</tr>')
    table = f'<table class="numbers"><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table>'
    return wide(table, f"Runs of {name}")


def origins(experiment, results, name):
    """A table with a line a run: by which code, on what, from which data and weights, and the hash of the outcome."""
    heads = ("Seed", "commit", "versions", "machine", "data", "ImageNet weights", "parameters", "folder")
    lines = []
    for result in results:
        weights = result["weights"] or "none" if "weights" in result else None
        folder = f"{experiment.key()}/r{result.get('revision', REVISION)}-seed{result['seed']}"
        hashes = (result.get("data"), weights, result.get("parameters_sha256"), folder)
        cells = [f"<td>{escape(plain(result.get(key)))}</td>" for key in ("commit", "versions", "machine")]
        cells += [f"<td><code>{escape(plain(value))}</code></td>" for value in hashes]
        lines.append(f'<tr><th scope="row">{result["seed"]}</th>{"".join(cells)}</tr>')
    head = "".join(f"<th>{head}</th>" for head in heads)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return wide(table, f"Where the runs of {name} come from")


def plain(value):
    """What a result says in one place, for people: a dict as "python 3.11.7, mxnet 1.9.1", "-" for None."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(part)}" for name, part in value.items()) or "-"
    return "-" if value is None or value == "" else str(value)


def counted(number, thing):
    """ "1 run", "2 runs" """
    return f"{number:,} {thing}{'s' * (number != 1)}"


def wide(content, label):
    """`content` in a box of its own that scrolls, with the keyboard too, where the window is narrower."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">{content}</div>'

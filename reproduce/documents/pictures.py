"""The pictures that the documents show, drawn anew by `python -m reproduce --figures`.

Figure 3 and the deletion test are drawn from what was recorded, Figure 4 from the runs of `bash reproduce/figure4.sh
--mini`, and the others from the run that the README speaks of, the best one of `bash reproduce/table1.sh --mini`.
"""

import contextlib
import io
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from gluon_cgd.files import figures
from gluon_cgd.files.regular import read_json
from gluon_cgd.files.whole import replacing
from gluon_cgd.machine import devices
from gluon_cgd.machine.facts import PROJECT
from gluon_cgd.runs.results import read_result
from reproduce import recorded, selection, store
from reproduce.report import comparison, plot
from reproduce.report.data import as_data
from reproduce.tables import FIGURE3, FIGURE4, TABLE1
from visualize import deletion

FOLDER = PROJECT / "figures"
LETTERS = {"letter-1.png": 0, "letter-2.png": 3}  # pictures of the class LETTER; the README compares them
LETTER = 3  # counted from 0 among the test classes
DELETION = PROJECT / "benchmarks" / "results" / "deletion.json"  # `python -m benchmarks.deletion --record` wrote it
WIDTHS = {
    "deletion.jpg": 720,
    "embedding.jpg": 720,
    "figure3.jpg": 560,
    "figure4.jpg": 960,
    "ranking.jpg": 720,
    "regime.jpg": 640,
    "similarity.jpg": 520,
    "spread.jpg": 640,
}  # in pixels, as a page shows them
NAMES = (*LETTERS, *WIDTHS)
README = next(row for row in TABLE1.rows if row.name == "Both")


def runs_of(runs):
    """{name of the row: folder} of the rows of Figure 4, and of README, in the folder `runs`: mini form, seed 0.

    Raises FileNotFoundError if one has not finished.
    """
    rows = {**{row.name: row for row in FIGURE4.rows}, README.name: README}
    folders = {name: store.folder(runs, selection.experiment_of(row, True), 0) for name, row in rows.items()}
    for name, folder in folders.items():
        if not (folder / "result.json").is_file():
            script = "table1" if name == README.name else "figure4"
            raise FileNotFoundError(f"{folder} holds no finished run: bash reproduce/{script}.sh --mini trains it")
    return folders


def draw(runs, out):
    """Draw every picture of NAMES into the folder `out`, from the runs in the folder `runs`; returns what they show.

    Raises as `runs_of`, and ValueError if a picture cannot be drawn.
    """
    folders = runs_of(runs)
    split = store.load_data(selection.experiment_of(FIGURE4.rows[0], True), None)
    copy_letters(split, out)
    with TemporaryDirectory() as scratch:
        letters = [Path(out, name).resolve() for name in LETTERS]
        readme = folders.pop(README.name)
        figures.save(plot.escape(read_result(readme / "result.json")), Path(scratch, "regime.png"))
        figures.save(deletion.curves(read_json(DELETION)), Path(scratch, "deletion.png"))
        shown = draw_scripts(readme, Path(runs), letters, Path(scratch))
        shown += draw_figures(folders, split, Path(scratch))
        for name, width in WIDTHS.items():
            shrink(Path(scratch, name).with_suffix(".png"), width, Path(out, name))
    return shown


def copy_letters(split, out):
    """Copy the two letters of the README from the test part of `split` into the folder `out`."""
    labels = np.array([record.label for record in split.query])
    of_class = np.flatnonzero(labels == np.unique(labels)[LETTER])
    for name, number in LETTERS.items():
        with replacing(Path(out, name)) as temporary:
            shutil.copyfile(split.query[of_class[number]].path, temporary)


def draw_figures(folders, split, scratch):
    """Draw Figures 3 and 4 into the folder `scratch`; returns what Figure 4 shows, lines of text."""
    from reproduce import figure4
    from visualize import configurations

    entries = as_data(FIGURE3, comparison.entries(FIGURE3, recorded.read, True, "last"), True)
    boxes = configurations.boxes(configurations.panels(entries), configurations.captions(entries))
    figures.save(boxes, scratch / "figure3.png")
    shown = figure4.draw(folders, split, devices.contexts(None)[0], None, scratch / "figure4")
    (scratch / "figure4-spread.png").rename(scratch / "spread.png")
    return shown


def draw_scripts(folder, runs, letters, scratch):
    """Draw with the scripts of `visualize` what the run in `folder` sees, into `scratch`; returns what they print.

    runs: the folder of all runs.  letters: two pictures.
    """
    from visualize import embedding, ranking, similarity

    scripts = {
        similarity: [*map(str, letters), "--per-branch"],
        ranking: ["--queries", "4"],
        embedding: [],
    }
    shown, scratch = [], scratch.resolve()
    model = Path(runs.resolve().name, folder.relative_to(runs))
    with beside(runs):  # the picture names the model, and not where it is on this machine
        for script, arguments in scripts.items():
            name, printed = script.__name__.rpartition(".")[2], io.StringIO()
            where = ["--checkpoint", str(model), "--out", str(scratch / f"{name}.png")]
            with contextlib.redirect_stdout(printed):
                status = script.main([*arguments, *where])
            if status:
                raise ValueError(f"visualize/{name}.py could not draw {model}: see above")
            shown += [line for line in printed.getvalue().splitlines() if not line.startswith("Written")]
    return shown


@contextlib.contextmanager
def beside(folder):
    """Work in the folder that holds `folder` while the block runs."""
    before = os.getcwd()
    os.chdir(Path(folder).resolve().parent)
    try:
        yield
    finally:
        os.chdir(before)


def shrink(picture, width, file):
    """Write the file `picture` into `file`, a JPEG of `width` pixels."""
    from PIL import Image

    with Image.open(picture) as drawn, replacing(file) as temporary:
        size = (width, round(drawn.height * width / drawn.width))
        drawn.convert("RGB").resize(size, Image.LANCZOS).save(temporary, "JPEG", quality=88, optimize=True)

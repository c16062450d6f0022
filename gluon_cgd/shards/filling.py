"""One shard: its part of the pictures is embedded into an index of its own, which goes on where it was ended."""

import os
import time

from gluon_cgd.datasets.training_part import warn_of_boxes
from gluon_cgd.files.whole import write_json
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import collection, mending
from gluon_cgd.retrieval.filling import fill as fill_index
from gluon_cgd.retrieval.manifest import read_manifest
from gluon_cgd.retrieval.model import open_model, remembered_by


def fill(plan, number, ctx=None, skip_bad=False):
    """Embed what is missing in the shard `number`, note that it is done, and return the summary of it.

    {"pictures": of the plan, "rows": embedded, "left_out": paths that are there without an embedding, "bad": a sentence
    for each that cannot be read, "gone": how many are no longer there, "seconds": of this process}. A shard that is
    done is not looked at again. ctx: the device.  skip_bad: leave out what cannot be read.
    Raises ValueError while another process fills it, if all of its pictures are gone, and as `index.update` does;
    OSError for a picture that cannot be looked at, as on a disk that does not answer: it is not gone.
    """
    summary = plan.summary(number)
    if summary:
        return summary
    started, folder, gone = time.time(), plan.shard(number), set()
    mending.mend(folder)
    try:
        remembered = remembered_by(folder, read_manifest(folder))
    except FileNotFoundError:
        remembered = None
    model = open_model(folder, remembered, **{**plan.model, "ctx": ctx})
    if number == plan.filled[0]:
        warn_of_boxes(model.trained)

    def there():
        for path in plan.paths(number):
            try:
                os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                gone.add(path)
            except OSError as error:
                raise type(error)(
                    f"{path} cannot be looked at ({error.strerror}): make its disk and folder readable on this "
                    "machine, and start again"
                ) from error
            else:
                yield path

    with task(f"shard {number}", plan.parts[number - 1].pictures, "img") as bar:
        for done in fill_index(folder, plan.source, model, skip_bad=skip_bad, paths=there()):
            bar.at(done.same + done.added + done.changed + len(done.bad))
    if len(gone) == plan.parts[number - 1].pictures:
        raise ValueError(
            f"none of the {len(gone):,} pictures of shard {number} is there any more, as {next(iter(gone))}: mount "
            f"their disk on this machine and start again, or if they are deleted, delete {plan.folder} and begin anew"
        )
    left_out = []
    if done.bad:
        finder = collection.Finder(collection.read(folder))
        left_out = [path for path in plan.paths(number) if path not in gone and finder.row(path) < 0]
    manifest = read_manifest(folder)
    summary = dict(
        pictures=plan.parts[number - 1].pictures,
        rows=manifest["rows"] - manifest["dead"],
        left_out=left_out,
        bad=done.bad,
        gone=len(gone),
        seconds=time.time() - started,
    )
    write_json(plan.summary_file(number), summary)
    return summary

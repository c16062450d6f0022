"""An engine on the disk is built, or brought up to date with its collection.

It learns once. Later only vectors without a code are encoded, and the lists are written anew from the codes. So adding
to a collection, removing from it and renumbering its rows are no rebuild. Killed at any moment, it goes on; what could
be searched before can be searched until the new lists count, unless it has to learn anew.
"""

import os
import shutil

from gluon_cgd.files.lock import locked
from gluon_cgd.files.whole import replacing
from gluon_cgd.ondisk import choice, encoding, merging, training, tuning
from gluon_cgd.ondisk import state as states
from gluon_cgd.ondisk.engine import OnDisk, read_trained
from gluon_cgd.retrieval import sealed
from gluon_cgd.retrieval.exact import needed

GROWN = 4  # times as many cells as were learned would be right: then it learns anew, from 16 times as many rows
RETUNED = 1.2  # times as many rows, or that part of them, as when the way to search was chosen: it is chosen again
DOING = "building the engine in"


def build(snapshot, kind, target, memory, progress=None, log=lambda text: None):
    """The engine `kind` of all rows of `snapshot`, which reaches the recall `target` if any way of searching does.

    memory: bytes that searches may use.  progress: is called with the rows done.  log: with sentences.
    Raises ValueError for too few rows, for a damaged engine, and while another process builds it.
    """
    faiss, folder = needed("faiss", "faiss-cpu"), states.folder_of(snapshot, kind)
    least = choice.least_rows(kind)
    if len(snapshot) < least:
        raise ValueError(
            f"{snapshot.folder} has {len(snapshot):,} rows, and FAISS needs {least:,} for {kind}: "
            "take --engine exact, which is fast enough for so few"
        )
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
        raise ValueError(f"{folder} is no folder, and the engine is made there: move it away")
    folder.mkdir(exist_ok=True)
    with locked(folder, DOING):
        state = states.read_state(folder)
        if state and state.id != snapshot.manifest["id"]:
            raise states.unusable(folder, f"{folder} is of another index")
        if state:
            encoding.check(folder, state)
            state, known, index = brought_over(snapshot, faiss, folder, state, log)
        if not state:
            known = None
            state, index = begun(snapshot, folder, choice.shape_of(kind, len(snapshot), snapshot.dim, memory), log)
        if state.rows < snapshot.count:
            state = encoding.encode(snapshot, folder, state, index, known, progress)
        if not is_merged(snapshot, state):
            state = merging.merge(snapshot, folder, state)
        else:
            merging.check(folder, state)
        states.delete_others(folder, state)
        engine = OnDisk(snapshot, kind)
        tuned = state.tuned
        if not tuned or tuned.target != target or not 1 / RETUNED <= snapshot.count / tuned.rows <= RETUNED:
            log(f"choosing how to search, for a recall of {target:g}")
            states.write_state(folder, state._replace(tuned=tuning.tune(snapshot, engine, target)))
            engine = OnDisk(snapshot, kind)
    return engine


def begun(snapshot, folder, shape, log):
    """(State without rows, what was learned): FAISS learns, and that is written."""
    index, token = training.trained(snapshot, shape, log), states.new_token()
    with replacing(states.trained_file(folder, token)) as temporary:
        faiss = needed("faiss", "faiss-cpu")
        faiss.write_index(index, str(temporary))
        sealed.seal(temporary, snapshot.manifest["id"])
    of = dict(id=snapshot.manifest["id"], generation=snapshot.manifest["generation"], numbers=snapshot.dim)
    of.update(kind=shape.kind, lists=shape.lists, dim=shape.dim, width=index.sa_code_size())
    state = states.State(**of, token=token, rows=0, crc=0)
    states.write_state(folder, state)
    return state, index


def brought_over(snapshot, faiss, folder, state, log):
    """(State, Known codes or None, what was learned) to go on with; (None, None, None) if it must learn anew.

    If the rows are those of `state` and more, it goes on there; after a compaction its lists do not count, since other
    rows may be dead now. Otherwise they have other numbers now, and the codes of those vectors that are still there are
    taken over, under a new token. Killed meanwhile, it goes on to take them.
    """
    wanted = choice.lists_of(len(snapshot))
    if wanted >= GROWN * state.lists:
        log(f"{snapshot.folder} has grown: {wanted:,} cells are right for it, and {state.lists:,} were learned")
        return None, None, None
    if state.numbers != snapshot.dim:
        log(f"{snapshot.folder} has vectors of {snapshot.dim:,} numbers now")
        return None, None, None
    sums, index = encoding.mapped(folder, state)[0], read_trained(faiss, folder, state)
    generation = snapshot.manifest["generation"]
    if state.rows <= snapshot.count and (training.sums_of(snapshot, slice(0, state.rows)) == sums).all():
        if generation != state.generation:
            state = state._replace(generation=generation, merged=None)
            states.write_state(folder, state)
        return state, state.before and encoding.Known(folder, earlier(state)), index
    before = earlier(state)
    known = encoding.Known(folder, before)
    there = (known.rows(training.sums_of(snapshot, slice(0, snapshot.count))) >= 0).mean()
    if there < 0.5:
        log(f"only {100 * there:.0f} % of the vectors of {snapshot.folder} are those that it learned from")
        return None, None, None
    token = states.new_token()
    with replacing(states.trained_file(folder, token)) as temporary:
        shutil.copyfile(states.trained_file(folder, state.token), temporary)
    codes = states.Codes(before.token, before.rows, before.crc)
    begun_anew = dict(token=token, rows=0, crc=0, generation=generation, merged=None, before=codes)
    return state._replace(**begun_anew), known, index


def earlier(state):
    """The State whose codes are taken over into `state`; `state` itself if none are."""
    return state._replace(**state.before._asdict()) if state.before else state


def is_merged(snapshot, state):
    """Whether the lists have the rows of `snapshot`, and none that is dead."""
    merged, dead = state.merged, snapshot.count - len(snapshot)
    return bool(merged) and (merged.rows, merged.dead) == (snapshot.count, dead)

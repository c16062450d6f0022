"""The index as it is now: read again when it has changed, with the model that it was made with."""

import os
import threading
import time

from gluon_cgd.experiment import Experiment
from gluon_cgd.machine.sentences import sentence
from gluon_cgd.retrieval import approximate, collection
from gluon_cgd.retrieval.manifest import NAME
from gluon_cgd.retrieval.model import CHANGES, open_model, remembered_by
from gluon_cgd.serve.places import Places
from gluon_cgd.serve.refusal import Refusal
from gluon_cgd.serve.worker import Computed, Worker

REST = 10  # while an index is written, it is read again for a tenth of the time at most


class State:
    """One state of an index. Later writes do not change it, so that every answer is of one state.

    number: differs from state to state.  computed: what the model computes.  engine: what searches, None for an exact
    search.  finder, places: of the index.
    """

    def __init__(self, number, snapshot, computed, engine=None, before=None):
        self.number, self.snapshot, self.computed, self.engine = number, snapshot, computed, engine
        self.finder, self.places = collection.Finder(snapshot), Places(snapshot, before and before.places)


class Current:
    """The state of the index in `folder`.

    engine: the arguments of `approximate.open_engine`, what searches.
    how: of its model, the arguments of `retrieval.model.open_model`.
    """

    def __init__(self, folder, engine=("exact", None, None), **how):
        self.folder, self._engine, self._how, self.worker = folder, engine, how, Worker()
        self._state = self._stamp = None
        self._next, self._lock = 0.0, threading.Lock()

    def state(self):
        """The State now. Raises Refusal, status 503, while the index cannot be read."""
        try:
            return self.read()
        except (ValueError, OSError) as error:
            raise Refusal(503, sentence(error)) from error

    def read(self):
        """As `state`. Raises ValueError and OSError as `collection.read` and `open_model` do."""
        known = self._state
        if known and (time.monotonic() < self._next or self._stamp == self._stamp_now()):
            return known
        with self._lock:
            if self._state is not known:  # another thread has just read it
                return self._state
            start, stamp = time.monotonic(), self._stamp_now()
            snapshot = collection.read(self.folder)
            number = known.number + 1 if known else 0
            self._state = State(
                number, snapshot, self._computed(known, snapshot), self._searching(known, snapshot), known
            )
            end = time.monotonic()
            self._stamp, self._next = stamp, end + REST * (end - start) if known else end
            return self._state

    def close(self):
        """End the model's thread, and the connection to what searches."""
        self.worker.close()
        if self._state and self._state.engine:
            self._state.engine.close()

    def _stamp_now(self):
        """What changes with every change of the index. A missing one is reported when it is read."""
        try:
            about = os.stat(os.path.join(self.folder, NAME))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return about.st_ino, about.st_mtime_ns, about.st_size

    def _searching(self, known, snapshot):
        """What searches in `snapshot`: that of the state before, unless another one was built since."""
        if known and known.engine and approximate.is_current(known.engine, snapshot):
            return known.engine
        return approximate.open_engine(snapshot, *self._engine)

    def _computed(self, known, snapshot):
        """The model of `snapshot`: that of the state before, unless the index was made anew with another one."""
        remembered = remembered_by(self.folder, snapshot.manifest)
        if known and _same(remembered, known.computed.model.about):
            return known.computed
        model = self.worker.run(lambda: open_model(self.folder, remembered, **self._how))
        return Computed(model, self.worker)


def _same(remembered, about):
    """Whether an index remembers the model that `about` describes, and the same whitening or reduction."""
    same = all(remembered.get(key) == about.get(key) for key in ("parameters_sha256", *CHANGES))
    return same and Experiment.from_dict(remembered["experiment"]) == Experiment.from_dict(about["experiment"])

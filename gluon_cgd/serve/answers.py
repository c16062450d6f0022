"""What the server answers, as values that become JSON. Each answer is of one state of the index."""

import os
import zlib

import numpy as np

from gluon_cgd.experiment import DESCRIPTOR_NAMES
from gluon_cgd.files.printable import printable
from gluon_cgd.machine.sentences import sentence
from gluon_cgd.retrieval import exact
from gluon_cgd.retrieval.threshold import calibrate
from gluon_cgd.serve import asked, uploads
from gluon_cgd.serve.pictures import Pictures, of_row
from gluon_cgd.serve.recent import Recent
from gluon_cgd.serve.refusal import Refusal

PAGE = 48  # results on a page
NEAREST = 1000  # results of a search, at most
FOLDERS = 5000  # that are listed, at most
DIGITS = 6  # of a value in a map


class Answers:
    """Answers what is asked of the index `current`, a Current. The arguments `values` are those of a request."""

    def __init__(self, current):
        self.current, self.pictures = current, Pictures()
        self._rankings, self._thresholds = Recent(256), Recent(1)

    def about(self):
        """What the page has to know before anything is asked."""
        state = self.current.state()
        folders = state.places.counted(state.snapshot.live)
        return dict(
            index=printable(os.path.basename(os.path.abspath(self.current.folder))),
            pictures=len(state.snapshot),
            model=printable(state.computed.model.about["name"]),
            folders=[dict(name=name, pictures=count) for name, count in folders[:FOLDERS]],
            upload_bytes=uploads.BYTES,
        )

    def browse(self, values):
        """A page of the collection, in the order of the index."""
        state, number = self.current.state(), asked.page(values)
        inside, live = _inside(state, values.get("folder", "")), state.snapshot.live
        rows = np.flatnonzero(live if inside is None else live & inside)
        number, pages = _within(number, len(rows))
        shown = [_entry(of_row(state, row)) for row in rows[(number - 1) * PAGE : number * PAGE]]
        return dict(pictures=len(state.snapshot), total=len(rows), page=number, pages=pages, results=shown)

    def search(self, values):
        """A page of the pictures that are most like the query, of those in the folder and above the least cosine."""
        state, box, number, least = self.current.state(), asked.box(values), asked.page(values), asked.least(values)
        query, folder = self.pictures.find(state, asked.picture(values, "q")), values.get("folder", "")
        cosines, rows = self._ranking(state, query, box, folder)
        total = int((cosines >= least).sum())
        number, pages = _within(number, total)
        page = slice((number - 1) * PAGE, min(number * PAGE, total))
        shown = []
        for cosine, row in zip(cosines[page].tolist(), rows[page]):
            result = of_row(state, row)
            shown.append(dict(_entry(result), cosine=cosine, is_query=not box and result.row == query.row))
        return dict(
            query=dict(_entry(query), **self._size(query), box=box, found=not box and query.row in rows.tolist()),
            pictures=len(state.snapshot),
            total=total,
            more=len(rows) == NEAREST,
            page=number,
            pages=pages,
            cosines=[round(cosine, 4) for cosine in cosines.tolist()],
            results=shown,
        )

    def threshold(self):
        """The least cosine that the collection itself suggests, and what it stands for."""
        state = self.current.state()
        try:
            suggested = self._thresholds.get(state.number, lambda: calibrate(state.snapshot))
        except ValueError as error:
            raise Refusal(409, sentence(error)) from error
        return dict(cosine=suggested.cosine, sentence=printable(suggested.sentence()))

    def compare(self, values):
        """Where a result is like the query, and where not: a map for each of the two, all and for each descriptor.

        turned=1: the result is the first of the two.  region: a part of the first; where the second one answers it.
        """
        state, box, region, turned = self.current.state(), asked.box(values), asked.region(values), asked.turned(values)
        ids = [asked.picture(values, name) for name in ("q", "r")]
        query, result = (self.pictures.find(state, name) for name in ids)
        pair = [self._for_network(state, query, box), self._for_network(state, result)]
        names = [query.name, result.name]
        if turned:
            pair, names = pair[::-1], names[::-1]
        try:
            similarity = state.computed.similarity(*pair)
        except ValueError as error:
            raise Refusal(409, f"this index has no heatmaps: {sentence(error)}") from error
        answer = dict(cosine=similarity.cosine, names=names, result=_entry(result), views=_views(similarity, state))
        return dict(answer, answer=_answer(similarity, region)) if region else answer

    def picture(self, values, name):
        """(JPEG, key) of the picture `name`, or its box, at the side that is asked for."""
        side, box = asked.side(values), asked.box(values)
        found = self.pictures.find(self.current.state(), asked.picture({"picture": name}, "picture"))
        return self.pictures.sent(found, side, box)[0], (found.key, side, box)

    def _for_network(self, state, picture, box=None):
        """(key, function that loads it) of a Picture, or of its box."""
        side = state.computed.model.input_size
        return (picture.key, box), lambda: self.pictures.load(picture, side, box)

    def _ranking(self, state, query, box, folder):
        """(cosines, rows) of the NEAREST of the query in the folder, best first."""
        inside = _inside(state, folder)

        def compute():
            vector = self._vector(state, query, box)
            return exact.search(state.snapshot, vector, NEAREST, state.engine, inside)[0]

        try:
            return self._rankings.get((state.number, query.key, box, folder), compute)
        except ValueError as error:  # of a damaged index, or of a model that gives no embedding
            raise Refusal(503, sentence(error)) from error

    def _vector(self, state, query, box):
        """The embedding (1, D) of the query: from the index, if that has it."""
        if query.row is None or box:
            key, load = self._for_network(state, query, box)
            return state.computed.vector(key, load, query.name)
        return state.snapshot.embeddings(np.array([query.row]))

    def _size(self, query):
        """Width and height of the query in pixels; without them if it cannot be read, which its picture then says."""
        try:
            width, height = self.pictures.sent(query, asked.SIDES[1])[1]
        except Refusal:
            return {}
        return dict(width=width, height=height)


def _inside(state, folder):
    """bool (N,): the rows of the index in `folder`; None if none is named."""
    if not folder:
        return None
    try:
        return state.places.inside(folder)
    except KeyError as error:
        raise Refusal(404, f"folder={asked.shown(folder)} is none of this index: choose one of its list") from error


def _within(number, total):
    """(the page `number` or the last one before it, the number of pages) of `total` results."""
    pages = max(1, -(-total // PAGE))
    return min(number, pages), pages


def _entry(picture):
    version = "" if picture.row is None else f"?v={zlib.crc32(repr(picture.key).encode()):08x}"
    address = f"/picture/{picture.id}{version}"
    return dict(id=picture.id, name=picture.name, folder=picture.folder, note=picture.note, picture=address)


def _views(similarity, state):
    """The maps of both pictures: of all descriptors, of each if there are several, and of the difference."""
    letters = state.computed.model.experiment.descriptors
    first = "all" if len(letters) > 1 else letters
    whole = "All descriptors" if len(letters) > 1 else DESCRIPTOR_NAMES.get(first, first)
    views = [_view("all", whole, similarity.map1, similarity.map2)]
    for letter, maps in zip(letters if len(letters) > 1 else "", similarity.branches):
        views.append(_view(letter, DESCRIPTOR_NAMES.get(letter, letter), *maps))
    apart = similarity.difference()
    return [*views, _view("difference", "Difference", apart.map1, apart.map2)]


def _view(name, label, *maps):
    return dict(id=name, label=label, sum=float(maps[0].sum()), maps=[_rounded(heat) for heat in maps])


def _rounded(heat):
    return [[float(f"{value:.{DIGITS}g}") for value in line] for line in heat.tolist()]


def _answer(similarity, region):
    """Where the second picture answers the `region` of the first one: every position that the region touches."""
    rows, columns = similarity.map1.shape
    left, top, right, bottom = region
    x1, x2 = _positions(left, right, columns)
    y1, y2 = _positions(top, bottom, rows)
    mask = np.zeros((rows, columns))
    mask[y1:y2, x1:x2] = 1
    heat = similarity.answer(mask)
    marked = [x1 / columns, y1 / rows, x2 / columns, y2 / rows]
    return dict(sum=float(heat.sum()), map=_rounded(heat), marked=marked)


def _positions(start, end, count):
    """(first, last + 1) of the `count` positions that the part from `start` to `end` of a side touches."""
    first = min(int(start * count + 1e-6), count - 1)
    return first, max(first + 1, min(count, int(np.ceil(end * count - 1e-6))))

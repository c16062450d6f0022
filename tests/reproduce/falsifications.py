"""A hundred falsifications of the documents and of the recorded runs, each as a function that plants it.

They are made from what is there, so they follow the recorded runs; which digit, row or run is changed is drawn with a
fixed seed. A `Forgery` changes files of a copy of the project and can put everything back.
"""

import hashlib
import json
import random
import re
import shutil
from pathlib import Path

import numpy as np

from gluon_cgd.experiment import REVISION
from reproduce import audit
from reproduce.auditing import declared

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "REPRODUCE.md", "docs/backbones.md", "docs/speed.md")
FILES = (*DOCUMENTS, "gluon_cgd/experiment.py", "reproduce/documents/ledger.md", "benchmarks/results")
PAGE = "page.html"


class Forgery:
    """A copy of the project in `root`. Whatever is written through it can be undone."""

    def __init__(self, root):
        self.root, self.before = root, {}
        for name in (*FILES, "reproduce/results"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (PROJECT / name).is_dir() else shutil.copy)(PROJECT / name, root / name)
        self.results = root / "reproduce" / "results"
        self.random = random.Random(0)

    def text(self, name):
        """The text of a file."""
        return (self.root / name).read_text(encoding="utf-8")

    def put(self, file, data):
        """Write `data`, bytes or a text, to `file`; None deletes it."""
        self.before.setdefault(file, file.read_bytes() if file.exists() else None)
        if data is None:
            file.unlink()
        else:
            file.write_bytes(data.encode() if isinstance(data, str) else data)

    def undo(self):
        """Put everything back."""
        for file, data in self.before.items():
            file.unlink(missing_ok=True)
            if data is not None:
                file.write_bytes(data)
        self.before.clear()

    def replace(self, name, old, new, which=0):
        """Replace one occurrence of `old` in a document."""
        text = self.text(name)
        places = [found.start() for found in re.finditer(re.escape(old), text)]
        at = places[which % len(places)]
        self.put(self.root / name, text[:at] + new + text[at + len(old) :])

    def part(self, name, part):
        """(start, end) of a marked part of a document."""
        text = self.text(name)
        start = text.index(f"<!-- {part} -->\n") + len(f"<!-- {part} -->\n")
        return start, text.index(f"<!-- end of {part} -->")

    def digit(self, name, part):
        """Change one digit of a part, drawn, but none of a link or of a heading."""
        text, (start, end) = self.text(name), self.part(name, part)
        lines = [f for f in re.finditer(r"^(?!#|<a ).*$", text[start:end], re.MULTILINE) if re.search(r"\d", f[0])]
        line = self.random.choice(lines)
        at = self.random.choice([f.start() for f in re.finditer(r"\d", line[0])]) + start + line.start()
        changed = str((int(text[at]) + self.random.randint(1, 9)) % 10)
        self.put(self.root / name, text[:at] + changed + text[at + 1 :])

    def lines(self, name, part, change):
        """Change the list of the lines of a part in place, by `change`."""
        text, (start, end) = self.text(name), self.part(name, part)
        lines = text[start:end].splitlines()
        change(lines)
        self.put(self.root / name, text[:start] + "".join(f"{line}\n" for line in lines) + text[end:])

    def keys(self):
        """The names of all recorded experiments with ten runs or the most there are."""
        files = sorted(self.results.glob("*-*.json"))
        counts = {file.stem: len(json.loads(file.read_text())["runs"]) for file in files}
        return [key for key, count in counts.items() if count == max(counts.values())]

    def file(self, key):
        """The JSON file of an experiment."""
        return self.results / f"{key}.json"

    def ranks(self, key):
        """{name: array} of an experiment."""
        with np.load(self.results / f"{key}.ranks.npz") as arrays:
            return dict(arrays)

    def put_ranks(self, key, arrays):
        """Write the ranks of an experiment."""
        file = self.results / f"{key}.ranks.npz"
        self.put(file, b"")
        np.savez_compressed(file, **arrays)

    def runs(self, key, change, sealed=True, ranks=None, name=None):
        """Change the recorded values of an experiment in place, by `change`, and seal the runs again.

        ranks: their hashes are made anew of these.  name: of the file, if it is another afterwards.
        """
        values = json.loads(self.file(key).read_text())
        change(values)
        if name:
            self.put(self.file(key), None)
        for run in values["runs"] if sealed else ():
            start = f"seed{run['seed']}/"
            own = {n[len(start) :]: array for n, array in (ranks or {}).items() if n.startswith(start)}
            if own:
                run["ranks_sha256"] = {n: sha256(array.astype("<u4").tobytes()) for n, array in sorted(own.items())}
            run["seal"] = seal(name or key, run)
        self.put(self.file(name or key), json.dumps(values, indent=1, ensure_ascii=False))

    def with_runs(self, count=6):
        """Give every experiment `count` runs at least, invented from its first, and the documents what the audit says.

        Then all falsifications can be planted, however many runs are recorded.
        """
        for file in sorted(self.results.glob("*-*.json")):
            values, arrays = json.loads(file.read_text()), self.ranks(file.stem)
            for seed in range(len(values["runs"]), count):
                run, own = invented(values["runs"][0], arrays, seed)
                run["parameters_sha256"] = sha256(f"{file.stem} {seed}".encode())
                values["runs"].append(run)
                arrays.update({f"seed{seed}/{name}": array for name, array in own.items()})
            np.savez_compressed(self.results / f"{file.stem}.ranks.npz", **arrays)
            self.runs(file.stem, lambda old, new=values: old.update(new), ranks=arrays)
        tables, (runs, _) = declared.tables(), audit.evidence.read(self.results)
        for name, parts in audit.documents(self.root, tables, runs, [], REVISION, True).items():
            for part, lines in parts.items():
                if not callable(lines):
                    self.lines(name, part, lambda old, new=lines: old.__setitem__(slice(None), new))
        self.before.clear()


def invented(run, arrays, seed):
    """(a run, its ranks) like `run`, the one with seed 0: some of its ranks are others. Equal networks begin alike."""
    own, draw = {}, np.random.default_rng(seed)
    changed = draw.random(len(arrays["classes"]))
    for name in sorted(name for name in arrays if name.startswith("seed0/") and not name.startswith("seed0/best")):
        worse = (changed < 0.02 * seed) if name == "seed0/untrained" else (changed > 1 - 0.01 * seed)
        own[name[len("seed0/") :]] = np.where(worse, arrays[name] + 1, arrays[name]).astype(arrays[name].dtype)
    new = json.loads(json.dumps({**run, "seed": seed}))
    for name, array in own.items():
        stage, _, branch = name.partition("/")
        recall = new["branches"][stage][branch] if branch else new[stage]
        recall.update({k: round(float(np.mean(array <= int(k[2:]))), 6) for k in recall})
    new["best"], new["best_iteration"] = new["last"], new["iterations"]
    new["branches"].update({"best": new["branches"]["last"]} if new["branches"] else {})
    first, *between, last = new["history"]
    for entry, stage in ((first, "untrained"), *((entry, "last") for entry in (*between, last))):
        entry["recall"] = new[stage]
        if "branches" in entry:
            entry["branches"] = new["branches"][stage]
    for entry in between:  # worse than the last
        entry["recall"] = halved(entry["recall"])
        if "branches" in entry:
            entry["branches"] = {branch: halved(recall) for branch, recall in entry["branches"].items()}
    return new, own


def halved(recall):
    """Half of a recall."""
    return {k: round(value / 2, 6) for k, value in recall.items()}


def sha256(data):
    """The SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def seal(key, run):
    """The seal of a run, as reproduce/seal.py makes it."""
    values = {name: value for name, value in run.items() if name != "seal"}
    return sha256(json.dumps({"key": key, "run": values}, sort_keys=True, separators=(",", ":")).encode())


def in_documents():
    """{name: function} of changes of documents: digits, words, lines."""
    counts = {"status": 2, "digest": 3, "claims": 5, "figure3 claims": 2, "tables": 9, "costs": 2, "origins": 2}
    places = [("REPRODUCE.md", part, count) for part, count in {**counts, "ledger": 2}.items()]
    places += [("README.md", "counted", 2), ("docs/backbones.md", "backbones", 3)]
    places += [("docs/speed.md", part, 2) for part in ("speed", "growth", "precision", "memory")]
    for name, part, count in places:
        for number in range(count):
            yield f"digit {number} of {part}", lambda f, name=name, part=part: f.digit(name, part)

    def word(old, new, part, which=0):
        def change(lines):
            at = [i for i, line in enumerate(lines) if old in line]
            i = at[which % len(at)]
            lines[i] = lines[i].replace(old, new, 1)

        return lambda f: f.lines("REPRODUCE.md", part, change)

    yield "a claim that holds is undecided", word("holds (p", "undecided (p", "claims")
    yield "an undecided claim holds", word("undecided", "holds", "claims", 1)
    yield "a claim of the digest is opposite", word("holds (p", "opposite here (p", "digest")
    yield "a claim below a table holds", word(" (p = ", " holds (p = ", "tables", 2)
    yield "a status has another verdict", word(" hold", " undecided", "status")
    yield "a claim of Figure 3 is turned round", word("'the majority", "not 'the majority", "figure3 claims")
    yield "the correction is another", word("5 % on each side", "1 % on each side", "claims")
    yield "a median is called a mean", word("median", "mean", "tables")
    yield "a row of a table is renamed", word("| Rank |", "| Ranks |", "tables")
    yield "a side of a claim is renamed", word("Both > Rank", "Rank > Both", "claims")
    yield "our number is called published", word("| mini |", "| published |", "tables", 3)
    yield "a reading of the ledger is another", word("trained", "frozen", "ledger")
    yield "runs were made elsewhere", word(" cores", " core", "origins")
    yield "a command is another", word("table1.sh", "table2.sh", "costs")

    def delete(part, which):
        return lambda f: f.lines("REPRODUCE.md", part, lambda lines: lines.pop(which % len(lines)))

    yield "a claim is left out", delete("claims", 5)
    yield "a row of a table is left out", delete("tables", 11)
    yield "a line of the digest is left out", delete("digest", 3)
    yield (
        "a line is written twice",
        lambda f: f.lines("REPRODUCE.md", "tables", lambda lines: lines.insert(9, lines[9])),
    )
    yield "a sentence is added", lambda f: f.lines("REPRODUCE.md", "digest", lambda lines: lines.append("- All hold."))

    def exchange(lines):
        lines[2], lines[3] = lines[3], lines[2]

    yield "two lines are exchanged", lambda f: f.lines("REPRODUCE.md", "claims", exchange)
    yield "a part is emptied", lambda f: f.lines("REPRODUCE.md", "origins", list.clear)
    yield "a mark is removed", lambda f: f.replace("REPRODUCE.md", "<!-- end of costs -->\n", "")
    yield (
        "runs of others are invented",
        lambda f: f.lines(
            "REPRODUCE.md",
            "reproductions",
            lambda lines: lines.append("| A. Nonymous | Table 1 | 10 | 10 of 10 | +0.0 |"),
        ),
    )
    yield "a document is missing", lambda f: f.put(f.root / "docs/backbones.md", None)


def in_runs():
    """{name: function} of changes of the recorded runs, with and without new seals."""

    def run(index, *path, value=None, add=None, sealed=True, which=0):
        def change(values):
            place = values["runs"][index]
            for name in path[:-1]:
                place = place[name]
            place[path[-1]] = value if add is None else place[path[-1]] + add

        return lambda f: f.runs(f.keys()[which % len(f.keys())], change, sealed)

    yield "a recall", run(1, "last", "R@1", add=0.0005, sealed=False)
    yield "a seed", run(3, "seed", value=13, sealed=False)
    yield "a machine", run(2, "machine", value="another machine", sealed=False)
    yield "the time of a run", run(2, "seconds", add=1, sealed=False)
    yield "a commit", run(0, "commit", value="0" * 40, sealed=False)
    yield "the hash of parameters", run(0, "parameters_sha256", value="0" * 64, sealed=False)
    yield "a device", run(0, "device", value="gpu(0)", sealed=False)
    yield "a recall, sealed", run(4, "last", "R@1", add=0.001, which=1)
    yield "a recall at 8, sealed", run(4, "last", "R@8", add=-0.0005, which=2)
    yield "a recall before training, sealed", run(4, "untrained", "R@2", add=0.0005, which=3)
    yield "the best recall, sealed", run(5, "best", "R@4", add=0.0005, which=4)
    yield "a recall in the history, sealed", run(5, "history", 0, "recall", "R@1", add=0.0005, which=5)
    yield "the iterations, sealed", run(5, "iterations", add=10, which=6)
    yield "the classes, sealed", run(5, "classes", add=-1, which=7)
    yield "the revision, sealed", run(5, "revision", add=-1, which=8)
    yield "the data, sealed", run(5, "data", value="0123456789abcdef", which=9)
    yield "a commit, sealed", run(5, "commit", value="f" * 40, which=3)
    yield "hours of training, sealed", run(5, "seconds", add=36000, which=3)

    def runs_of(change, which=0, ranks=False):
        def plant(f):
            key = f.keys()[which % len(f.keys())]
            f.runs(key, change, ranks=f.ranks(key) if ranks else None)

        return plant

    def swap(values):
        first, second = values["runs"][:2]
        first["seed"], second["seed"] = 1, 0
        values["runs"][:2] = [second, first]

    def copied(values):
        values["runs"][4] = {**values["runs"][3], "seed": 4}

    def parameters(values):
        values["runs"][4]["parameters_sha256"] = values["runs"][3]["parameters_sha256"]

    yield "two seeds are exchanged", runs_of(swap)
    yield "the last run is dropped", runs_of(lambda values: values["runs"].pop(), 1)
    yield "a run is dropped", runs_of(lambda values: values["runs"].pop(4), 2)
    yield "a run is there twice", runs_of(lambda values: values["runs"].insert(4, values["runs"][4]), 3)
    yield "a run is a copy of another", runs_of(copied, 4, ranks=True)
    yield "parameters are a copy of another's", runs_of(parameters, 5)
    yield "an experiment's margin", runs_of(lambda values: values["experiment"].update(margin=0.2), 6)
    yield "an experiment's loss", runs_of(lambda values: values["experiment"].update(loss="margin"), 7)
    yield "an experiment's passes", runs_of(lambda values: values["experiment"].update(passes=50.0), 8)
    yield "there are no runs", runs_of(lambda values: values["runs"].clear(), 9)
    yield "an experiment is missing", lambda f: f.put(f.file(f.keys()[0]), None)
    yield "a file is renamed", lambda f: f.runs(f.keys()[1], lambda values: None, name=f"{f.keys()[1][:-10]}0123456789")
    yield "a file is cut off", lambda f: f.put(f.file(f.keys()[2]), f.file(f.keys()[2]).read_text()[:-100])

    def foreign(f):
        first, second = f.keys()[:2]
        other = json.loads(f.file(second).read_text())["runs"][2]
        f.runs(first, lambda values: values["runs"].__setitem__(2, other))

    yield "a run is that of another experiment", foreign


def in_ranks():
    """{name: function} of changes of the ranks, in the end with all hashes, recalls and seals made anew."""

    def ranks(change, sealed=False, which=0):
        def plant(f):
            key = f.keys()[which]
            arrays = f.ranks(key)
            change(arrays)
            f.put_ranks(key, arrays)
            if sealed:
                f.runs(key, lambda values: None, ranks=arrays)

        return plant

    def one_rank(arrays):
        at = int(np.argmax(arrays["seed1/last"] > 1))
        arrays["seed1/last"][at] = 1

    def swap(arrays):
        for name in [name for name in arrays if name.startswith("seed0/")]:
            other = name.replace("seed0/", "seed1/")
            arrays[name], arrays[other] = arrays[other], arrays[name]

    yield "a rank", ranks(one_rank)
    yield "a rank, sealed", ranks(one_rank, True)
    yield "ranks are missing", ranks(lambda arrays: arrays.pop("seed2/last"))
    yield "ranks are too few, sealed", ranks(lambda a: a.update({"seed2/last": a["seed2/last"][:-1]}), True)
    yield "ranks of two seeds are exchanged", ranks(swap)
    yield "ranks of two seeds are exchanged, sealed", ranks(swap, True)
    yield "the classes of the pictures", ranks(lambda a: a["classes"].__setitem__(7, a["classes"][-1]))
    yield "the file of ranks is missing", lambda f: f.put(f.results / f"{f.keys()[0]}.ranks.npz", None)

    def consistent(f):
        key = f.keys()[0]
        arrays = f.ranks(key)
        for _ in range(3):
            one_rank(arrays)
        f.put_ranks(key, arrays)

        def recall(values):
            changed = values["runs"][1]
            for k in changed["last"]:
                changed["last"][k] = round(float(np.mean(arrays["seed1/last"] <= int(k[2:]))), 6)
            changed["history"][-1]["recall"] = changed["last"]
            if "seed1/best" in arrays and changed["best_iteration"] == changed["history"][-1]["iteration"]:
                changed["best"] = changed["last"]
                arrays["seed1/best"] = arrays["seed1/last"]

        f.runs(key, recall, ranks=arrays)
        f.put_ranks(key, arrays)

    yield "a rank with recalls, history and seal, but not the documents", consistent

    def whole(f):
        key = f.keys()[0]
        arrays = f.ranks(key)
        swap(arrays)
        f.put_ranks(key, arrays)

        def exchange(values):
            first, second = values["runs"][:2]
            first["seed"], second["seed"] = 1, 0
            values["runs"][:2] = [second, first]

        f.runs(key, exchange, ranks=arrays)

    yield "two seeds are exchanged with ranks and seals", whole


def in_the_page():
    """{name: function} of changes of the page."""

    def page(pattern, which=0, change=None):
        def plant(f):
            text = f.text(PAGE)
            found = list(re.finditer(pattern, text))
            one = found[which % len(found)]
            new = change(one[0]) if change else one[0].replace(one[1], str((int(one[1]) + 3) % 10))
            f.put(f.root / PAGE, text[: one.start()] + new + text[one.end() :])

        return plant

    yield "a number of ours", page(r">\d(\d)\.\d ± ", 3)
    yield "a published number", page(r"<td>9(\d)\.\d ± 0\.\d</td>", 5)
    yield "an untrained number", page(r"untrained</td><td>\d*(\d)\.", 2)
    yield "a p", page(r"\(p = \d\.?(\d)", 4)
    yield "an outcome", page("undecided; the", 1, lambda text: text.replace("undecided", "holds"))
    yield "the recall of a run", page(r"<td>\d\d\.(\d)\d</td>", 30)
    yield "a value behind a number", page(r'title="runs: \d+\.(\d)', 8)
    yield "the parameters of a run", page(r"<td><code>[0-9a-f]{63}([0-9])</code>", 2)
    yield "the count of runs", page(r"<dd>(\d)", 0)
    yield "a setting of an experiment", page(r"<code>passes=(\d)", 3)
    yield "a dot of a plot", page(r'<use href="[^"]*" x="\d+(\d)\.\d+" y="[\d.]+" style="fill: var\(--line0\)', 9)
    yield "a curve", page(r'<path d="M [\d.]+ \d+(\d)\.[\d.]+ L [^"]*" style="fill: none; stroke: var\(--line1', 2)
    yield "a table is missing", page(r"(?s)<section id=\"table4\">.*?</section>", 0, lambda text: "")


KINDS = {"documents": in_documents, "runs": in_runs, "ranks": in_ranks, "page": in_the_page}
ALL = [(f"{kind}: {name}", plant) for kind, made in KINDS.items() for name, plant in made()]

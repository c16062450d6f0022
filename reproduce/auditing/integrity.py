"""What must hold of the recorded runs themselves, before any number is made of them: each check yields Findings.

Who changes a run, its ranks, its seal and all that depends on them consistently is not noticed: that takes training
again. Everything less is: see tests/reproduce/test_audit.py for a hundred falsifications.
"""

import hashlib
import json

import numpy as np

from reproduce.auditing import agreement
from reproduce.auditing.declared import DECLARED, key_of
from reproduce.auditing.evidence import Finding
from reproduce.auditing.regime import left

STAGES = ("untrained", "last", "best")
RANKED_SINCE = 3  # revision of the training code since which runs keep their ranks


def check(evidence, tables, revision):
    """Findings of all checks. evidence: {key: Recorded}.  revision: of the training code today."""
    for recorded in evidence.values():
        for rule in (named, seeded, sealed, counted, consistent, watched):
            yield from rule(recorded)
        yield from of_today(recorded, revision)
    yield from agreement.check(evidence, tables)


def named(recorded):
    """The file's name is the hash of its experiment."""
    right = key_of(recorded.experiment)
    if recorded.file.stem != right:
        text = f"its experiment has the name {right} by its hash: the experiment or the file's name was changed"
        yield Finding(str(recorded.file), 2, text)


def seeded(recorded):
    """The seeds are 0, 1, ... without a gap, each once."""
    seeds = [run["seed"] for run in recorded.runs]
    for index, seed in enumerate(seeds):
        if seed != index:
            why = "comes twice" if seed in seeds[:index] else f"stands where seed {index} should"
            yield recorded.at(index, f"seed {seed} {why}: a run was dropped, repeated or renamed")
            return
    if not seeds:
        yield Finding(str(recorded.file), 1, "it has no runs")


def sealed(recorded):
    """Each run's seal is the hash of what is recorded of it."""
    for index, run in enumerate(recorded.runs):
        values = {name: value for name, value in run.items() if name != "seal"}
        text = json.dumps({"key": recorded.file.stem, "run": values}, sort_keys=True, separators=(",", ":"))
        right = hashlib.sha256(text.encode()).hexdigest()
        if run.get("seal") != right:
            yield recorded.at(index, f"the seal of seed {run['seed']} should be {right}: the run was changed", "seal")


def counted(recorded):
    """Every recall is the share of ranks up to K, and the ranks are those that the run had."""
    dataset = recorded.experiment["dataset"]
    tested = None if dataset == "sop_mini" else DECLARED["tests"].get(dataset, [None])[0]  # that one is drawn
    names = {name.partition("/")[0] for name in recorded.ranks} - {"classes"}
    for name in sorted(names - {f"seed{run['seed']}" for run in recorded.runs}):
        yield Finding(f"{recorded.file.with_suffix('')}.ranks.npz", 1, f"it has ranks of {name}, which has no run")
    for index, run in enumerate(recorded.runs):
        start = f"seed{run['seed']}/"
        ranks = {name[len(start) :]: array for name, array in recorded.ranks.items() if name.startswith(start)}
        hashes = run.get("ranks_sha256")
        if not ranks and hashes is None and run.get("revision", 0) < RANKED_SINCE:
            yield from plausible(recorded, index, tested)
            continue
        if set(ranks) != set(hashes or ()):
            yield recorded.at(index, f"seed {run['seed']} has not the ranks that it names: they cannot be counted")
            continue
        for name, array in ranks.items():
            right = hashlib.sha256(np.ascontiguousarray(array, dtype="<u4").tobytes()).hexdigest()
            if hashes[name] != right:
                yield recorded.at(index, f"the ranks {start}{name} are not those of the run", "ranks_sha256")
            if tested is not None and array.shape != (tested,):
                yield recorded.at(index, f"there are {array.size:,} ranks {start}{name}, and {tested:,} test pictures")
        yield from shares(recorded, index, ranks)


def shares(recorded, index, ranks):
    """The recalls of one run are the shares of its ranks."""
    run = recorded.runs[index]
    for stage in STAGES:
        own = "last" if stage == "best" and "best" not in ranks else stage
        if own == "last" and stage == "best" and run["best"] != run["last"]:
            yield recorded.at(index, f"seed {run['seed']} has no ranks of its best evaluation", "best")
            continue
        recalls = {"": run[stage], **run.get("branches", {}).get(stage, {})}
        for branch, recall in recalls.items():
            array = ranks.get(f"{own}/{branch}" if branch else own)
            if array is None and branch and stage != "last":  # those are not kept
                continue
            if array is None:
                yield recorded.at(index, f"seed {run['seed']} has no ranks of {stage} {branch}".rstrip(), stage)
                continue
            for k, share in recall.items():
                right = round(float(np.mean(array <= int(k[2:]))), 6)
                if abs(right - share) > 1e-9:
                    place = f"seed {run['seed']}, {stage} {branch}".rstrip()
                    yield recorded.at(index, f"{place}: {k} is {share}, and by its ranks it should be {right}", stage)


def plausible(recorded, index, tested):
    """Without ranks: recalls are shares of the test pictures that rise with K."""
    run = recorded.runs[index]
    for stage in STAGES:
        for branch, recall in {"": run[stage], **run.get("branches", {}).get(stage, {})}.items():
            values = [recall[k] for k in sorted(recall, key=lambda k: int(k[2:]))]
            whole = all(abs(v * tested - round(v * tested)) < 1e-6 * tested for v in values) if tested else True
            if values != sorted(values) or not whole or not all(0 <= value <= 1 for value in values):
                place = f"seed {run['seed']}, {stage} {branch}".rstrip()
                yield recorded.at(index, f"{place}: {values} cannot be recalls of {tested or 'its'} pictures", stage)


def consistent(recorded):
    """What a run says twice is the same: its history and its recalls; its steps are those of its experiment."""
    experiment = recorded.experiment
    size = DECLARED["tests"].get(experiment["dataset"])
    for index, run in enumerate(recorded.runs):
        history = run.get("history") or []
        if size:
            steps = max(
                1, round(experiment["passes"] * size[1] / experiment["batch_classes"] / experiment["batch_images"])
            )
            if run.get("iterations", steps) != steps:
                yield recorded.at(index, f"{run['iterations']} iterations should be {steps}", "iterations")
            if run["classes"] != size[2]:
                yield recorded.at(index, f"{run['classes']} classes should be {size[2]}", "classes")
        if not history:
            continue
        stages = [history[0], history[-1], max(history[1:] or history, key=lambda entry: entry["recall"]["R@1"])]
        for stage, entry in zip(STAGES, stages):
            if entry["recall"] != run[stage] or entry.get("branches", {}) != run.get("branches", {}).get(stage, {}):
                text = f"the {stage} recalls of seed {run['seed']} are not those of its history"
                yield recorded.at(index, text, stage)
        ends = (history[0]["iteration"], history[-1]["iteration"], stages[2]["iteration"])
        if ends != (0, run["iterations"], run["best_iteration"]) or len(history) != experiment["evaluations"] + 1:
            yield recorded.at(index, f"the history of seed {run['seed']} is not that of its experiment", "history")


def watched(recorded):
    """What a run says of its ranking loss is what its curve shows."""
    for index, run in enumerate(recorded.runs):
        right = left(recorded.experiment, run)
        if "curve" in run and run.get("regime", {}) != right:
            yield recorded.at(index, f"the regime of seed {run['seed']} should be {right} by its curve", "regime")
        curve = run.get("curve") or {"iteration": [run.get("iterations")]}
        if curve["iteration"] != sorted(set(curve["iteration"])) or curve["iteration"][-1] != run.get("iterations"):
            yield recorded.at(index, f"the curve of seed {run['seed']} does not rise to its last iteration", "curve")


def of_today(recorded, revision):
    """The runs are of today's training code, and of one copy of the data."""
    for index, run in enumerate(recorded.runs):
        if run.get("revision") != revision:
            text = (
                f"seed {run['seed']} is of revision {run.get('revision')} of the training code, today's is {revision}"
            )
            yield recorded.at(index, text, "revision")

"""Which engine trained the runs of a table, and which runs do not count for that reason, in words."""

from collections import Counter

from gluon_cgd.engines import choice
from gluon_cgd.engines.choice import MXNET

HEAD = "What trained (docs/engines.md, 'Which runs are averaged'):"


def none_left_out(experiment):
    """The runs of `experiment` that do not count where that is not asked for: none."""
    return ()


def counted(results):
    """{"PyTorch in tf32": how many of the runs `results`, ...}; {} if MXNet trained all."""
    made = Counter(str(choice.of(result)) for result in results)
    return {} if set(made) <= {str(MXNET)} else dict(made)


def named(left_out):
    """What `averaging.left_out` returns, with engines as texts."""
    return tuple((str(engine), count, why) for engine, count, why in left_out)


def versions(run):
    """The versions in a result, as a cell of a table; PyTorch's has its name and its precision."""
    engine, shown = choice.of(run), []
    for name, version in (run.get("versions") or {}).items():
        named = {"torch": f"PyTorch {version} in {engine.precision}", "cuda": f"CUDA {version}"}
        shown.append(str(version) if engine.kind == MXNET else named.get(name, str(version)))
    return ", ".join(shown)


def sentences(rows):
    """Sentences: which engine made the runs of `rows`, if it was not MXNet alone, and which runs do not count."""
    made = {}
    for row in rows:
        for engine, count in row.engines.items():
            made.setdefault(engine, []).append(f"{row.row} ({count})")
    return [f"runs by {engine}: {', '.join(names)}" for engine, names in made.items()] + left_out(rows)


def left_out(rows):
    """Sentences: which finished runs of `rows` do not count, and why."""
    others = {}
    for row in rows:
        for engine, count, why in row.left_out:
            others.setdefault((engine, why), []).append(f"{row.row} ({count})")
    return [f"left out, {why}: runs by {engine} of {', '.join(names)}" for (engine, why), names in others.items()]

"""What training learns from and begins with, and what some commands can use: datasets, weights, fonts, extras, Slurm.

The project's own modules are imported where they are used: where a package is broken, importing this module must work.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

from gluon_cgd.doctor.findings import info, note, ok, wrong
from gluon_cgd.machine import facts

PAPER = ("resnet50", "se_resnet50", "bn_inception", "shufflenet_v2")  # backbones of Table 7
EXTRAS = {  # module: (the name it is installed under, what it is for)
    "sklearn": ("scikit-learn", "t-SNE"),
    "submitit": ("submitit", "training on Slurm"),
    "onnx": ("onnx", "exported models"),
    "onnxruntime": ("onnxruntime", "exported models"),
    "openvino": ("openvino", "exported models"),
    "faiss": ("faiss-cpu", "search"),
    "pymilvus": ("pymilvus", "search"),
}
SLURM = ("sbatch", "srun", "squeue", "scontrol")


def official():
    """The counts of the paper's benchmarks, `datasets.OFFICIAL`."""
    from gluon_cgd import datasets

    return datasets.OFFICIAL


def benchmarks(root, named):
    """A line of each of the paper's benchmarks in the folder `root`; named: whether somebody said that it is there."""
    root = Path(root)
    if named and not root.is_dir():
        return [wrong("datasets", f"--data {root} is not a folder", "name the one that holds cub200, cars196, ...")]
    return [_benchmark(name, root) for name in official()]


def _benchmark(name, root):
    from gluon_cgd import datasets
    from gluon_cgd.fetch.sources import SOURCES

    get = f"python -m gluon_cgd data {name}"
    get += f" --root {root / name} --download --verify" if SOURCES[name].url else " says where to get it"
    if not _annotated(name, root):
        return note(name, f"is neither in {root / name} nor in {root}", get)
    try:
        found = datasets.load(name, root)
    except (ValueError, OSError) as error:
        return wrong(name, f"is not whole ({error})", f"complete the copy, or get it again ({get})")
    return ok(name, f"complete in {datasets.located(name, root)}, {datasets.counted(found)}")


def _annotated(name, root):
    """Whether the folder holds annotations of the benchmark, right or wrong; without any, it is another's."""
    from gluon_cgd import datasets
    from gluon_cgd.datasets import layouts

    place = datasets.located(name, root)
    if not place.is_dir():
        return False
    try:
        getattr(layouts, name)(place)
    except FileNotFoundError:
        return place != root and any(place.iterdir())  # a folder of that name with something in it was meant to be it
    except (ValueError, OSError):
        pass
    return True


def imagenet():
    """A line of each of the paper's backbones: whether its ImageNet parameters are here, and whole."""
    return [_parameters(name) for name in PAPER]


def _parameters(name):
    from gluon_cgd.backbones import BACKBONES
    from gluon_cgd.fetch import weights

    title, recipe, root = f"weights {name}", BACKBONES[name], Path(weights.cache_folder())
    asked = (recipe.publisher, recipe.model)
    found = weights.kept(*asked)
    if found:
        return ok(title, str(found))
    damaged = [root / place.name for place in weights.sources(*asked) if (root / place.name).exists()]
    by_hand = f"get {weights.by_hand(*asked, root)}"
    if damaged:
        return wrong(title, f"{damaged[0]} is not the file that was published", f"remove it, and {by_hand}")
    return note(title, f"not in {root}; the first run fetches them, where the network lets it", by_hand)


def fonts():
    """The line of the typefaces that the embedded benchmark is drawn from."""
    from gluon_cgd.datasets import glyphs

    found = find_spec("matplotlib")
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    gone = [face for face in glyphs.TYPEFACES if not (folder / f"{face}.ttf").is_file()]
    if gone:
        says = f"{', '.join(gone)} missing from {folder}, and the embedded benchmark is drawn from them"
        return [wrong("fonts", says, facts.install("constraints.txt") + " --force-reinstall")]
    return [ok("fonts", f"the {len(glyphs.TYPEFACES)} typefaces of the embedded benchmark")]


def extras(versions):
    """The line of what some commands can use and none needs. versions: of `installed.distributions`."""
    there, gone = [], []
    for module, (name, purpose) in EXTRAS.items():
        if find_spec(module):
            there.append(f"{name} {versions.get(name, '')}".strip())
        else:
            gone.append(f"{name} ({purpose})")
    says = [f"{', '.join(there)} installed"] * bool(there) + [f"without {', '.join(gone)}"] * bool(gone)
    remedy = f" ({facts.install('requirements-extra.txt')} installs those that commands use)"
    return [info("extras", "; ".join(says) + remedy * bool(gone))]


def slurm():
    """The line of the programs that --backend slurm calls."""
    gone = [program for program in SLURM if not shutil.which(program)]
    if gone:
        return [info("Slurm", f"not here ({', '.join(gone)}): runs train on this machine")]
    return [info("Slurm", f"{shutil.which('sbatch')}: python -m reproduce --backend slurm trains there")]

"""The doctor's lines on datasets, ImageNet weights, fonts, optional packages and Slurm.

The project's modules are imported inside the functions: this module must be importable even if a package is broken.
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
    """One line for each of the paper's benchmarks in the folder `root`. named: whether the user named that folder."""
    root = Path(root)
    if named and not root.is_dir():
        return [wrong("datasets", f"--data {root} is not a folder", "name the folder that holds cub200, cars196, ...")]
    return [_benchmark(name, root) for name in official()]


def _benchmark(name, root):
    from gluon_cgd import datasets
    from gluon_cgd.fetch.sources import SOURCES

    get = f"python -m gluon_cgd data {name}"
    get += f" --root {root / name} --download --verify" if SOURCES[name].url else " says where to get it"
    if not _annotated(name, root):
        return note(name, f"not found in {root / name} or {root}", get)
    try:
        split = datasets.load(name, root)
    except (ValueError, OSError) as error:
        return wrong(name, f"is incomplete or damaged ({error})", f"complete the copy, or get it again ({get})")
    return ok(name, f"complete in {datasets.located(name, root)}, {datasets.counted(split)}")


def _annotated(name, root):
    """Whether the folder holds annotations of the benchmark, intact or not: without any it belongs to another one."""
    from gluon_cgd import datasets
    from gluon_cgd.datasets import layouts

    place = datasets.located(name, root)
    if not place.is_dir():
        return False
    try:
        getattr(layouts, name)(place)
    except FileNotFoundError:
        return place != root and any(place.iterdir())  # a folder of its name, with files in it
    except (ValueError, OSError):
        pass
    return True


def imagenet():
    """One line for each backbone of the paper: whether its ImageNet parameters are on this machine and intact."""
    return [_parameters(name) for name in PAPER]


def _parameters(name):
    from gluon_cgd.backbones import BACKBONES
    from gluon_cgd.fetch import weights

    title, recipe, root = f"weights {name}", BACKBONES[name], Path(weights.cache_folder())
    model = (recipe.publisher, recipe.model)
    file = weights.kept(*model)
    if file:
        return ok(title, str(file))
    damaged = [root / place.name for place in weights.sources(*model) if (root / place.name).exists()]
    by_hand = f"get {weights.by_hand(*model, root)}"
    if damaged:
        return wrong(title, f"{damaged[0]} is not the published file (its hash differs)", f"remove it, and {by_hand}")
    return note(title, f"not in {root}; the first run downloads them", f"if that fails, {by_hand}")


def fonts():
    """The line of the typefaces from which the embedded benchmark is drawn."""
    from gluon_cgd.datasets import glyphs

    folder = Path(find_spec("matplotlib").origin).parent / "mpl-data" / "fonts" / "ttf"
    missing = [face for face in glyphs.TYPEFACES if not (folder / f"{face}.ttf").is_file()]
    if missing:
        says = f"{', '.join(missing)} missing from {folder}; the embedded benchmark is drawn from them"
        return [wrong("fonts", says, facts.install("constraints.txt") + " --force-reinstall")]
    return [ok("fonts", f"the {len(glyphs.TYPEFACES)} typefaces of the embedded benchmark")]


def extras(versions):
    """The line of the optional packages. versions: as `interpreter.distributions` returns them."""
    present = [f"{name} {versions.get(name, '')}".strip() for module, (name, _) in EXTRAS.items() if find_spec(module)]
    missing = [f"{name} ({purpose})" for module, (name, purpose) in EXTRAS.items() if not find_spec(module)]
    says = [f"{', '.join(present)} installed"] * bool(present) + [f"{', '.join(missing)} missing"] * bool(missing)
    remedy = f" ({facts.install('requirements-extra.txt')} installs those that commands use)"
    return [info("extras", "; ".join(says) + remedy * bool(missing))]


def slurm():
    """The line of the programs that --backend slurm calls."""
    missing = [program for program in SLURM if not shutil.which(program)]
    if missing:
        return [info("Slurm", f"not installed ({', '.join(missing)}): runs train on this machine")]
    return [info("Slurm", f"{shutil.which('sbatch')}: python -m reproduce --backend slurm trains with it")]

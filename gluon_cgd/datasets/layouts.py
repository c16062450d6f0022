"""The four benchmarks of section 4.1, each in the layouts in which copies of it exist. Labels count from 0."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Set

import numpy as np

from gluon_cgd.datasets.lists import text_of
from gluon_cgd.datasets.records import PathLike, Record, Split, join


def cub200(root: Path) -> Split:
    """CUB200-2011: classes 1-100 to train, 101-200 to test, with boxes. `root` holds images.txt or CUB_200_2011/."""
    root = folder_with("images.txt", root, "CUB_200_2011")
    older = folder_with("lists", root, "CUB_200_2011", "CUB_200") / "lists/files.txt"
    if not (root / "images.txt").is_file() and older.is_file():
        raise ValueError(
            f"{root} is CUB-200-2010 ({len(rows(older, 1)):,} pictures), another dataset: get CUB_200_2011.tgz"
        )
    paths = by_id(root / "images.txt", 1, lambda path: path)
    if len(paths) == 6033:
        raise ValueError(f"{root} is CUB-200-2010 (6,033 pictures), another dataset: get CUB_200_2011.tgz")
    labels = by_id(root / "image_class_labels.txt", 1, lambda label: whole(label, 1, 200))
    boxes = by_id(root / "bounding_boxes.txt", 4, lambda *box: tuple(int(float(value)) for value in box))
    records = []
    for number, path in paths.items():
        for file, values in (("image_class_labels.txt", labels), ("bounding_boxes.txt", boxes)):
            if number not in values:
                raise ValueError(f"{root / file} has no row for picture {number} ({path}): get CUB_200_2011.tgz again")
        x, y, width, height = boxes[number]
        file = join(root / "images", path, root / "images.txt")
        records.append(Record(file, labels[number] - 1, (x, y, x + width, y + height)))
    return Split([r for r in records if r.label < 100], [r for r in records if r.label >= 100])


def cars196(root: Path) -> Split:
    """CARS196: classes 1-98 to train, 99-196 to test, with boxes; the dataset's own train/test flag is unused.

    `root` holds `car_ims/` and `cars_annos.mat`, or `cars_train/`, `cars_test/` (also nested twice, as Kaggle has
    them) and, there or in `devkit/`, `cars_train_annos.mat` and `cars_test_annos_withlabels.mat`.
    """
    if _in_one_folder(root):
        return _by_class(_cars(root, root / "cars_annos.mat", "relative_im_path"))
    kits, labelled = (root, *CAR_KITS), "cars_test_annos_withlabels.mat"
    unlabelled = folder_with("cars_test_annos.mat", *kits) / "cars_test_annos.mat"
    if unlabelled.is_file() and not (folder_with(labelled, *kits) / labelled).is_file():
        raise ValueError(f"{unlabelled} has no classes: get {labelled}")
    return _by_class(
        [*_car_folder(root, "cars_train", "cars_train_annos.mat"), *_car_folder(root, "cars_test", labelled)]
    )


def cars196_train_half(root: Path) -> Split:
    """The pictures of CARS196 that it marks itself as training pictures, about half; classes and boxes as `cars196`.

    `root` holds `car_ims/` and `cars_annos.mat`, whose field `test` is 0 for them, or `cars_train/` and, there or in
    `devkit/`, `cars_train_annos.mat`. Pictures and annotations of the other half need not be there.
    """
    if _in_one_folder(root):
        return _by_class(_cars(root, root / "cars_annos.mat", "relative_im_path", half=True))
    return _by_class(_car_folder(root, "cars_train", "cars_train_annos.mat"))


CAR_KITS = ("devkit", "car_devkit/devkit")  # folders with the annotations of CARS196, where they are not in its own


def _in_one_folder(root):
    """Whether `root` has CARS196 in its older layout, `car_ims/` and `cars_annos.mat`."""
    return (root / "cars_annos.mat").is_file() or not any(
        (root / name).exists() for name in ("cars_train", "cars_test")
    )


def _by_class(records):
    """The Split of `records` of CARS196: the first 98 classes to train, the others to test."""
    records = list(records)
    return Split([r for r in records if r.label < 98], [r for r in records if r.label >= 98])


def _car_folder(root, name, annotations):
    """The records of `cars_train` or `cars_test`, also nested twice."""
    pictures = root / name / name if (root / name / name).is_dir() else root / name
    return _cars(pictures, folder_with(annotations, root, *CAR_KITS) / annotations, "fname")


def _cars(pictures, file, path_field, half=False):
    """Yield a record for each row of `file`. half: only of training pictures, by the field `test`."""
    annotations = mat(file)
    fields = (path_field, "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", *["test"] * half)
    absent = [field for field in fields if field not in (annotations.dtype.names or ())]
    if absent:
        raise ValueError(f"{file} has no field {absent[0]}: get the {file.name} that belongs to {pictures}")
    for number, row in enumerate(annotations.ravel(), 1):
        try:
            # Each number is a 1 x 1 array of uint8 or uint16: make it an int before any subtraction
            values = {field: row[field].item() for field in fields}
            path, label = values[path_field], whole(values["class"], 1, 196)
            box = tuple(whole(values[field]) for field in fields[1:5])
            is_test = whole(values["test"]) if half else 0
            if is_test not in (0, 1):
                raise ValueError(f"test is {is_test}, not 0 or 1")
        except (ValueError, TypeError, OverflowError) as error:
            reason = f"has no usable path, box and class in row {number} ({error})"
            raise ValueError(f"{file} {reason}: get it again") from error
        if not is_test:
            yield Record(join(pictures, str(path), file), label - 1, box)


def sop(root: Path) -> Split:
    """Stanford Online Products: 11,318 products to train, 11,316 others to test. `root` holds Ebay_train.txt."""
    root = folder_with("Ebay_train.txt", root, "Stanford_Online_Products")
    return Split(*([record for record, _ in _ebay(root, f"Ebay_{part}.txt")] for part in ("train", "test")))


def sop_mini_products(root: Path, products: int = 100, seed: int = 0) -> Set[int]:
    """The labels of Figure 3's smaller test set: `products` drawn from each super-class of SOP's test set."""
    kinds = defaultdict(set)
    for record, super_class in _ebay(folder_with("Ebay_train.txt", root, "Stanford_Online_Products"), "Ebay_test.txt"):
        kinds[super_class].add(record.label)
    rng, drawn = np.random.default_rng(seed), set()
    for kind in sorted(kinds):
        drawn.update(rng.permutation(sorted(kinds[kind]))[:products].tolist())
    return drawn


def _ebay(root, name):
    """Yield (record, super-class) for each line of one of SOP's two lists."""
    head, *body = rows(root / name, 4)
    if head != ["image_id", "class_id", "super_class_id", "path"]:
        raise ValueError(f"{root / name} starts with {' '.join(head)!r}, not with SOP's header: get it again")
    for number, (_, label, super_class, path) in enumerate(body, 2):
        try:
            yield Record(join(root, path, root / name), int(label) - 1), int(super_class)
        except ValueError as error:
            raise ValueError(f"{root / name} line {number}: {error}") from error


def inshop(root: Path) -> Split:
    """In-shop Clothes: items to train, and queries to find in a gallery. `root` holds Eval/ and Img/."""
    name = "list_eval_partition.txt"
    file = folder_with(name, root / "Eval", root) / name
    count, head, *body = rows(file)
    if head != ["image_name", "item_id", "evaluation_status"]:
        raise ValueError(f"{file} has {' '.join(head)!r} in line 2, not In-shop's header: get it again")
    if count != [str(len(body))]:
        raise ValueError(f"{file} says {' '.join(count)} pictures and lists {len(body):,}: get it again")
    pictures = root / "Img" if (root / "Img").is_dir() else root
    parts: Dict[str, List[Record]] = {"train": [], "query": [], "gallery": []}
    for number, row in enumerate(body, 3):
        if len(row) != 3 or row[2] not in parts or not row[1].startswith("id_") or not row[1][3:].isdigit():
            raise ValueError(f"{file} line {number} reads {' '.join(row)!r}, not picture, item and part: get it again")
        parts[row[2]].append(Record(join(pictures, row[0], file), int(row[1][3:])))
    return Split(parts["train"], parts["query"], parts["gallery"])


def folder_with(name: str, root: PathLike, *others: PathLike) -> Path:
    """The first of `root` and `others` (folders, or their names under `root`) that holds `name`; else `root`."""
    folders = [Path(root), *(Path(root) / other for other in others)]
    return next((folder for folder in folders if (folder / name).exists()), folders[0])


def rows(file: Path, columns: Optional[int] = None) -> List[List[str]]:
    """The lines of a text file, each split at blanks. Raises ValueError unless each line has `columns` fields."""
    check_exists(file)
    try:
        lines = [line.split() for line in text_of(file).splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not a text file: get it again") from error
    for number, fields in enumerate(lines, 1):
        if columns and len(fields) != columns:
            raise ValueError(f"{file} line {number} has {len(fields)} fields and should have {columns}: get it again")
    if len(lines) < 3 and columns is None or not lines:
        raise ValueError(f"{file} is cut off after {len(lines)} lines: get it again")
    return lines


def check_exists(file: Path) -> None:
    """Raise FileNotFoundError unless `file` exists."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: name the folder of the whole dataset")


def by_id(file: Path, columns: int, value: Callable[..., Any]) -> Dict[int, Any]:
    """{number: value(*fields)} of a file of CUB200-2011, whose lines are a number and `columns` fields."""
    values = {}
    for line, (number, *fields) in enumerate(rows(file, columns + 1), 1):
        try:
            values[int(number)] = value(*fields)
        except (ValueError, OverflowError) as error:
            text = " ".join([number, *fields])
            raise ValueError(f"{file} line {line} reads {text!r} ({error}): get it again") from error
    return values


def whole(value: Any, lowest: float = -math.inf, highest: float = math.inf) -> int:
    """`value` as an int. Raises ValueError for a fraction and for a class outside `lowest` to `highest`."""
    if int(value) != float(value):
        raise ValueError(f"{value} is not a whole number")
    if not lowest <= int(value) <= highest:
        raise ValueError(f"class {value} is not in {lowest} to {highest}")
    return int(value)


def mat(file: Path) -> np.ndarray:
    """The `annotations` of a .mat file. Raises ValueError for one that cannot be read."""
    from scipy.io import loadmat

    check_exists(file)
    try:
        return loadmat(str(file))["annotations"]
    except Exception as error:  # scipy raises many kinds for a broken file, IndexError and zlib.error among them
        raise ValueError(f"{file} cannot be read as annotations ({type(error).__name__}): get it again") from error

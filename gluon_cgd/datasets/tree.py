"""The pictures in a folder and its subfolders, and a count of everything that is left out. All commands walk here."""

import errno
import operator
import os
import re
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Counter as Counts
from typing import Deque, Dict, Iterator, List, Optional, Set, Tuple

from gluon_cgd.datasets.records import PathLike
from gluon_cgd.machine.prepare import installed

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jfif"}
HEIF = {".heic", ".heif", ".hif", ".avif"}  # pictures too where pillow-heif is installed
RAW = {".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw"}
# Endings of files that hold pictures for which there is a remedy; the others are only counted
REMEDIES = (
    (HEIF, "install pillow-heif to read them"),
    (RAW, "export them as JPEG to use them"),
    ({".icloud"}, "pictures that are not downloaded from iCloud"),
)
# Folders and files that systems and programs leave beside pictures. Compared without case; hidden names need no entry
FOREIGN = {
    *("@eadir", "#recycle", "#snapshot", "@tmp", "@sharesnap"),  # Synology
    *("@recycle", "@recently-snapshot", "@transcode", "@__thumb", "@__qini"),  # QNAP
    *("~snapshot", "_vti_cnf", "_gsdata_"),  # NetApp, FrontPage, GoodSync
    *("__macosx", "icon\r", "network trash folder", "temporary items"),  # macOS
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "zbthumbnail.info"),  # Windows
    *("$recycle.bin", "recycler", "recycled", "system volume information"),
    *("lost+found", "lost.dir", "__pycache__"),
}
CHKDSK = re.compile(r"found\.\d{3}")  # what Windows' check of a disk puts its finds into
STREAMS = (":zone.identifier", ":encryptable", "@synoeastream", "@synoresource")  # notes that come with a copied file
NAME = operator.attrgetter("name")
SHOWN = 20  # names and endings of a kind that the line on what is left out names


@dataclass
class LeftOut:
    """What a walk leaves out, counted while it goes on."""

    endings: Counts[str] = field(default_factory=Counter)  # of files that are no pictures: {".txt": 3}
    first: str = ""  # of those, and of the loose ones
    foreign: Counts[str] = field(default_factory=Counter)  # names of hidden files and folders, and of FOREIGN
    unreadable: List[str] = field(default_factory=list)  # folders
    broken: List[str] = field(default_factory=list)  # links to nothing that are not named like files
    around: List[str] = field(default_factory=list)  # links to a folder that they are in
    again: List[Tuple[str, str]] = field(default_factory=list)  # (link, where its folder was walked already)
    loose: int = 0  # pictures that are in no class, where classes are wanted
    empty: List[str] = field(default_factory=list)  # class folders without a picture, where classes are wanted

    def line(self, kind: str = "that can be read") -> str:
        """All of it on one line, with counts: "... left out, the first is a.heic: .heic 40, .txt 3"; "" for nothing.

        kind: which pictures are wanted, in words.
        """
        files, words = sum(self.endings.values()) + self.loose, []
        if files:
            counts = ", ".join(
                [self.kinds()] * bool(self.endings) + [f"{self.loose:,} in no class folder"] * bool(self.loose)
            )
            first = f"the first is {self.first}: {counts}"
            words.append(f"{files:,} files are no pictures {kind} and are left out, {first}")
        if self.foreign:
            names = _limited([f"{name} {count:,}" for name, count in self.foreign.most_common()], "other names")
            words.append(f"hidden or made by a system: {names}")
        for what, paths in (
            ("class folders without pictures", self.empty),
            ("folders that cannot be read", self.unreadable),
            ("links to nothing", self.broken),
            ("links to a folder around them", self.around),
            ("links to folders that are read already", [link for link, _ in self.again]),
        ):
            words += [f"{len(paths):,} {what}: {_limited(paths, 'more')}"] * bool(paths)
        if len(words) > bool(files):
            words[bool(files)] = ("also left out: " if files else "left out: ") + words[bool(files)]
        return "; ".join(words)

    def kinds(self) -> str:
        """The counts by ending: ".heic 40, .avif 4 (install pillow-heif to read them), .txt 3"."""
        words, rest = [], {ending: f"{ending or 'without an ending'} {n:,}" for ending, n in self.endings.most_common()}
        for kinds, remedy in REMEDIES:
            own = [rest.pop(ending) for ending in list(rest) if ending in kinds]
            words += [f"{', '.join(own)} ({remedy})"] * bool(own)
        return ", ".join(words + [_limited(list(rest.values()), "other endings")] * bool(rest))


def _limited(words, what):
    more = len(words) - SHOWN
    return ", ".join(words[:SHOWN]) + (f" and {more:,} {what}" if more > 0 else "")


def endings() -> Set[str]:
    """The endings of the files that can be read as pictures, in small letters."""
    return PICTURES | HEIF if installed("pillow_heif") else PICTURES


def is_foreign(name: str) -> bool:
    """Whether `name` is that of a hidden file or folder, or of one that a system or a program leaves beside pictures.

    iCloud's hidden placeholders of pictures count as files: a person would miss those pictures.
    """
    folded = name.casefold()
    if folded in FOREIGN or folded.endswith(STREAMS):
        return True
    if folded.startswith("."):
        return not folded.endswith(".icloud")
    return folded.startswith("found.") and bool(CHKDSK.fullmatch(folded))


def walk(folder: PathLike, left_out: Optional[LeftOut] = None, skip_bad: bool = False, flag: str = "") -> Iterator[str]:
    """Yield the path of every picture in `folder` and its subfolders, in order of names, a folder's own files first.

    Links to folders are followed, after the real folders. Each folder is walked once, so a circle of links ends.
    A picture is known by its name: it may be damaged, or a link to nothing.
    left_out: counts what is left out.  skip_bad: count a folder that cannot be read, too. Otherwise it raises OSError,
    whose remedy names the `flag` for skip_bad, if there is one.
    """
    left_out, readable = LeftOut() if left_out is None else left_out, endings()
    seen: Dict[str, str] = {}  # real path of each folder walked -> its path under `folder`
    links: Deque[Tuple[str, str]] = deque()  # (link to a folder, real path of the folder that the link is in)
    root, following = os.path.realpath(folder), False
    pending = [(os.fspath(folder), root)]
    while pending or links:
        if not pending:
            (link, around), following = links.popleft(), True
            real = os.path.realpath(link)
            if any(os.path.join(inner, "").startswith(os.path.join(real, "")) for inner in (around, root)):
                left_out.around.append(link)
            else:
                pending.append((link, real))
            continue
        place, real = pending.pop()
        if following and real in seen:
            left_out.again.append((place, seen[real]))
            continue
        seen[real] = place
        folders = []
        for entry in _entries(place, left_out, skip_bad, flag):
            kind = _kind(entry)
            if kind == "folder":
                folders.append((entry.path, os.path.join(real, entry.name)))
            elif kind == "link":
                links.append((entry.path, real))
            elif ending_of(entry.name) in readable:
                yield entry.path
            elif isinstance(kind, OSError):
                _refuse(kind, entry.path, "is a link that cannot be followed", skip_bad, flag)
                left_out.broken.append(entry.path)
            else:
                left_out.endings[ending_of(entry.name)] += 1
                left_out.first = left_out.first or entry.path
        pending += reversed(folders)


def subfolders(folder: PathLike) -> List[str]:
    """The sorted names of the folders in `folder`, links to folders included, without those that `is_foreign` names."""
    return [entry.name for entry in _entries(folder, LeftOut(), skip_bad=True) if _kind(entry) in ("folder", "link")]


def _entries(place, left_out, skip_bad, flag=""):
    """The sorted entries of the folder `place` without foreign ones, which are counted."""
    try:
        with os.scandir(place) as listing:
            entries = sorted(listing, key=NAME)
        if not os.access(place, os.X_OK):  # its names can be read, and none of its files
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        _refuse(error, place, "is a folder that cannot be read", skip_bad, flag)
        left_out.unreadable.append(os.fspath(place))
        return []
    foreign = [entry.name for entry in entries if is_foreign(entry.name)]
    left_out.foreign.update("._*" if name.startswith("._") else name for name in foreign)
    return [entry for entry in entries if not is_foreign(entry.name)] if foreign else entries


def _kind(entry):
    """ "folder", "link" to a folder, or "file"; the OSError of a link that cannot be followed.

    A link to nothing is a file if its name ends like a file's; else it was probably a folder.
    """
    try:
        if entry.is_dir():
            return "link" if entry.is_symlink() else "folder"
        if entry.is_symlink() and not re.fullmatch(r"\.[a-z]\w{0,4}", ending_of(entry.name)):
            os.stat(entry.path)
    except OSError as error:
        return error
    return "file"


def ending_of(name: str) -> str:
    """The ending of a file's name, in small letters: ".jpg", "" for none."""
    if name.startswith("."):  # a dot there begins no ending
        return os.path.splitext(name)[1].lower()
    dot = name.rfind(".")
    return name[dot:].lower() if dot >= 0 else ""


def _refuse(error, place, problem, skip_bad, flag):
    """Raise `error` as a sentence, unless `skip_bad`."""
    if not skip_bad:
        remedy = "mend or remove it" + f", or say {flag} to leave it out" * bool(flag)
        raise type(error)(f"{place} {problem} ({error.strerror}): {remedy}") from error

"""What an exception says to a person: what happened to which file, and what to do about it."""

import errno
import os

from gluon_cgd.files.printable import printable

MEANINGS = {  # error number -> (meaning, remedy)
    errno.ENOENT: ("does not exist", "check its name"),
    errno.ENOTDIR: ("does not exist, because a part of its path is a file and not a folder", "check its path"),
    errno.EISDIR: ("is a folder", "name a file in it"),
    errno.EEXIST: ("is there already", "move it away, or choose another name"),
    errno.ENOTEMPTY: ("is a folder that holds files", "move it away, or choose another name"),
    errno.EACCES: ("may not be read or written by this user", "change its permissions, or choose another place"),
    errno.EPERM: ("may not be changed by this user", "change its permissions, or choose another place"),
    errno.EROFS: ("is on a file system that is mounted read-only", "choose another place"),
    errno.ENOSPC: ("cannot be written, because the disk is full", "free some space, or choose another disk"),
    errno.EDQUOT: ("cannot be written, because your quota is used up", "delete something, or choose another disk"),
    errno.EFBIG: ("cannot become so large here (file system or ulimit -f)", "raise the limit, or choose another disk"),
    errno.ENAMETOOLONG: ("has a longer name than the file system allows", "choose a shorter name"),
    errno.ELOOP: ("leads in a circle of links", "name the file itself"),
    errno.EIO: (
        "cannot be read or written, because the disk reports a fault",
        "check the disk",
    ),
    errno.ESTALE: ("is no longer on its server", "mount the folder again"),
    errno.EMFILE: ("cannot be opened, because this process has too many open files", "raise `ulimit -n`"),
    errno.ENFILE: ("cannot be opened, because the system has too many open files", "close other programs"),
    errno.ETXTBSY: ("is a program that runs now", "end it first"),
    errno.EBUSY: ("is in use by the system", "choose another name"),
    errno.EXDEV: ("cannot be moved to another file system", "choose a place on the same disk"),
    errno.EINVAL: ("cannot be used in this way on this file system", "choose another place"),
    errno.EOVERFLOW: ("is too large for this system", "choose a smaller file"),
    errno.ENXIO: ("is a device or a pipe that nothing answers", "name a regular file"),
    errno.ENODEV: ("is on a device that cannot do this", "name a regular file"),
    errno.ENOLCK: ("is on a file system without locks", "choose another place"),
    errno.ENOMEM: ("needs more memory than there is", "close other programs, or take a smaller batch"),
    errno.EPIPE: ("was closed by the program that reads it", "start that program again"),
    errno.ECONNREFUSED: ("does not answer (connection refused)", "check the address, and that the server runs"),
    errno.ECONNRESET: ("broke the connection off", "start again"),
    errno.ETIMEDOUT: ("did not answer in time", "start again, or check the network"),
    errno.EHOSTUNREACH: ("cannot be reached", "check the network"),
    errno.ENETUNREACH: ("cannot be reached", "check the network"),
    errno.EADDRINUSE: ("is in use by another program", "choose another address"),
}


def sentence(error: BaseException) -> str:
    """The message of an exception as one that names the value, what is wrong, and the remedy.

    An error of the operating system has no remedy of its own: MEANINGS adds it. MXNet's messages quote C++ source and
    have theirs in the last line. Characters that would control a terminal are escaped.
    """
    if isinstance(error, OSError) and error.errno is not None and str(error).startswith("[Errno"):
        return printable(_of_system(error))
    without_remedy = not str(error) or str(error).startswith("Unable to allocate")  # Python's, NumPy's
    if isinstance(error, MemoryError) and without_remedy or "std::bad_alloc" in str(error):  # C++'s, through MXNet
        return "there is not enough memory: close other programs, or take smaller pictures or batches"
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return "no more threads can be started: end other processes of this user, or raise their limit (ulimit -u)"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines and lines[0].startswith("Traceback") else str(error) or type(error).__name__
    return printable(text, lines=True)


def _of_system(error):
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    reason = (error.strerror or os.strerror(error.errno)).strip().lower().replace(":", ",")
    meaning, remedy = MEANINGS.get(error.errno, (f"cannot be read or written ({reason})", "check its disk"))
    if names:
        return f"{' -> '.join(names)} {meaning}: {remedy}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"a file {meaning}: {remedy}"
    if "usable temporary directory" in reason:
        return f"{error.strerror}: set TMPDIR to a folder that you can write to"
    if error.errno == errno.ENOENT and not _is_in_a_folder():
        return "the present folder was deleted: change to another one (cd), and start again"
    return f"the system reports: {reason}: {remedy}"


def _is_in_a_folder():
    try:
        return bool(os.getcwd())
    except OSError:
        return False

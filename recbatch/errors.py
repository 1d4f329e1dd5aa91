"""Every error of recbatch, with the exit code that `jobs` gives it.

    RecbatchError                 1   never raised itself
    ├── UsageError                2   the command's words are off
    ├── DataError                65   bad input: names file, row or key, what was expected and the cure
    │   ├── AuditFailed          65   a check on the staged run returned rows
    │   └── GateFailed           65   the challenger is worse than what readers have
    ├── InputMissing             66   a file, table, user or run that was named is not there
    ├── RemoteStoreDown          69   reserved
    ├── CannotCreate             73   an output file or directory cannot be made
    ├── StorageFailed            74   a read or write failed (disk full, I/O error, damaged file)
    ├── LockHeld                 75   another run holds the lake's lock: try again later
    ├── PermissionRefused        77   the file system says no
    └── ConfigError              78   recbatch.toml or --set: unknown key, wrong type, out of range

Catching `RecbatchError` is always right. Its text is one line for the operator and ends in the cure.
Anything else that escapes is a bug of ours and keeps its traceback.
"""

import contextlib
import errno
import os
from collections.abc import Iterator


class RecbatchError(Exception):
    """Root of the tree: an operator's fault, told in one line that names the cure."""

    exit_code = 1


class UsageError(RecbatchError):
    """The command's words are off."""

    exit_code = 2


class DataError(RecbatchError):
    """The input breaks its contract."""

    exit_code = 65


class AuditFailed(DataError):
    """A check on the staged run failed; readers still see the last good run."""


class GateFailed(DataError):
    """The challenger model is worse than the baseline or than what readers have."""


class InputMissing(RecbatchError):
    """Something that was named is not there."""

    exit_code = 66


class RemoteStoreDown(RecbatchError):
    """A remote store did not answer (reserved)."""

    exit_code = 69


class CannotCreate(RecbatchError):
    """An output file or directory cannot be made."""

    exit_code = 73


class StorageFailed(RecbatchError):
    """A read or write failed, or a file of ours is damaged."""

    exit_code = 74


class LockHeld(RecbatchError):
    """Another run holds the lake's lock."""

    exit_code = 75


class PermissionRefused(RecbatchError):
    """The file system refuses access."""

    exit_code = 77


class ConfigError(RecbatchError):
    """A setting is unknown, of the wrong type or out of range."""

    exit_code = 78


_CURES = {
    errno.ENOSPC: (StorageFailed, "the disk is full: free space or move the lake, then run again"),
    errno.EDQUOT: (StorageFailed, "the disk quota is used up: free space, then run again"),
    errno.EFBIG: (StorageFailed, "the file size limit is reached: raise `ulimit -f`, then run again"),
    errno.EIO: (StorageFailed, "the device reports an I/O error: check the disk, then run again"),
    errno.EACCES: (PermissionRefused, "give this user read and write access"),
    errno.EPERM: (PermissionRefused, "give this user read and write access"),
    errno.EROFS: (PermissionRefused, "the file system is mounted read-only: remount it or move the lake"),
    errno.ENOENT: (CannotCreate, "the folder does not exist: create it first"),
    errno.EEXIST: (CannotCreate, "a file is in the way: move it, then run again"),
    errno.ENOTDIR: (CannotCreate, "a part of the path is a file: choose another path"),
}


def from_os_error(error: OSError) -> RecbatchError:
    """The operator's line for a failed system call.

    Args:
        error: what the operating system said.

    Returns:
        An error of the tree that names the path and the cure (exit 73, 74 or 77).
    """
    kind, cure = _CURES.get(error.errno or 0, (StorageFailed, "check the path and the disk, then run again"))
    where = error.filename2 or error.filename or "a file"
    # Arrow puts a sentence of its own where the system's word should stand.
    return kind(f"{where}: {os.strerror(error.errno) if error.errno else error.strerror or error}; {cure}")


def from_words(where: object, told: str, cure: str) -> RecbatchError:
    """The operator's line for what a library says of a failed read or write in words only.

    Args:
        where: the path.
        told: the library's message, on one line; the system's word for a failed call is looked for in it.
        cure: what to do where there is none.

    Returns:
        The error of that system call (exit 73, 74 or 77), `StorageFailed` without one.
    """
    for number, (kind, better) in _CURES.items():
        if os.strerror(number) in told:
            return kind(f"{where}: {told}; {better}")
    return StorageFailed(f"{where}: {told}; {cure}")


@contextlib.contextmanager
def naming(path: object) -> Iterator[None]:
    """Gives an OSError that names no file the path that was being read or written.

    Calls on descriptors (fsync, write) name none, and Arrow's errors neither.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise

"""System calls of a process, seen one by one before they happen: each may go on, fail, or be the process's last.

The process puts itself under a seccomp filter (unprivileged, Linux 5.5 or later); the kernel asks whoever holds the
listener. Calls of libraries in C++ come by as well, so nothing of ours is patched. See seccomp_unotify(2).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import struct
from dataclasses import dataclass
from pathlib import Path

_NAMES = {
    1: "write", 18: "write", 20: "write", 296: "write", 77: "write", 285: "write", 2: "open", 257: "open", 85: "open",
    74: "fsync", 75: "fsync", 82: "rename", 264: "rename", 316: "rename", 83: "mkdir", 258: "mkdir",
    87: "unlink", 263: "unlink", 84: "unlink", 90: "chmod", 91: "chmod", 268: "chmod",
}  # fmt: skip
"""Number on x86-64 → kind: whatever changes a file system, and opening."""
_BY_PATH = {2: 0, 85: 0, 82: 0, 83: 0, 87: 0, 84: 0, 90: 0, 257: 1, 264: 1, 316: 1, 258: 1, 263: 1, 268: 1}
"""Number → which argument is the path; the others' first one is a descriptor."""
_SECCOMP, _SET_FILTER, _NEW_LISTENER, _NO_NEW_PRIVS = 317, 1, 8, 38
_ASK, _ALLOW = 0x7FC00000, 0x7FFF0000
_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101
_GO_ON = 1


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def be_watched() -> int:
    """Puts the calling process under the filter, for good; returns the listener's descriptor."""
    numbers = sorted(_NAMES)
    code = struct.pack("HBBI", 0x20, 0, 0, 0)  # load the number
    for place, number in enumerate(numbers):
        code += struct.pack("HBBI", 0x15, len(numbers) - place, 0, number)  # equal: jump to ask
    code += struct.pack("HBBI", 0x06, 0, 0, _ALLOW) + struct.pack("HBBI", 0x06, 0, 0, _ASK)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    listener = libc.syscall(_SECCOMP, _SET_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(listener)


@dataclass(frozen=True)
class Call:
    """One system call below the watched folder."""

    kind: str
    path: str
    """Relative to the folder."""


@dataclass(frozen=True)
class Plan:
    """What happens to the `at`-th call (from 1; 0 is none): it fails with `code`, or the process is killed before it."""

    at: int = 0
    code: int | None = None
    lasting: bool = False
    """Every write from there on fails: a disk that is full stays so."""


def watch(listener: int, folder: Path, plan: Plan) -> list[Call]:
    """Answers for a process until it is gone; returns its calls below the folder, in order."""
    calls: list[Call] = []
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        [(_, events)] = poll.poll()
        if not events & select.POLLIN:
            return calls
        request = bytearray(80)
        try:
            fcntl.ioctl(listener, _RECEIVE, request)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                continue
            raise
        ticket, pid, _, number, _, _, *arguments = struct.unpack("QIIiIQ6Q", request)
        path = _path(pid, number, arguments)
        failure = 0
        if path and (path == str(folder) or path.startswith(f"{folder}/")):
            calls.append(Call(_NAMES[number], path[len(str(folder)) + 1 :]))
            if len(calls) == plan.at and plan.code is None:
                os.kill(pid, signal.SIGKILL)
                continue
            lasts = plan.lasting and 0 < plan.at < len(calls) and calls[-1].kind in ("write", "mkdir")
            if plan.code and (lasts or len(calls) == plan.at):
                failure = -plan.code
        try:
            fcntl.ioctl(listener, _ANSWER, struct.pack("QqiI", ticket, 0, failure, 0 if failure else _GO_ON))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


def _path(pid: int, number: int, arguments: list[int]) -> str | None:
    try:
        if number not in _BY_PATH:
            return str(Path(f"/proc/{pid}/fd/{arguments[0]}").readlink())
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - unbuffered
            memory.seek(arguments[_BY_PATH[number]])
            return os.fsdecode(memory.read(4096).split(b"\0", 1)[0])
    except OSError:
        return None

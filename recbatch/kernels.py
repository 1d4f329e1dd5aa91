"""Loops as machine code: compiled by numba when first called, and kept for the nights that follow.

    LAKE/_kernels/<name>.<machine>.<made of>.o

A loop is compiled for exact types to object code that needs nothing else: it allocates nothing, raises nothing and
knows no Python object. The next process loads it in milliseconds, without numba. It is no pickle, but it is code, and
runs only under the rules that ssh has for its keys: the file and its folder belong to us or to root, and nobody else
may write them. Besides, its head is the sha256 of the rest, and its name says what it was made of: all sources of this
package, the versions of compiler and Python, the machine's instructions. Where nothing can be kept, or nobody has said
where, each process compiles for itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import re
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from recbatch import _compiling, compile_time

Loop = Callable[..., Any]
OPTIONS = {"nogil": True, "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
"""Of every loop that becomes part of a kernel: what it must do without, so that its code stands alone."""
_DIGEST = hashlib.sha256().digest_size
_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FILE_MODE, _FOLDER_MODE = 0o640, 0o750
_folder: list[Path] = []


def keep_in(folder: Path) -> None:
    """Says where kernels are kept from now on; the folder is made when there is something to keep.

    Where an earlier process has kept some that fit, loops are compiled from the start.
    """
    _folder[:] = [folder]
    if folder.is_dir() and any(folder.glob(f"*.{'.'.join(_origin())}.o")):
        _compiling.compiled()


def damage(files: list[Path]) -> list[str]:
    """What is wrong with kernels that were kept. Such a file is never run, and replaced by the next large night."""
    return [f"{path}: not what was written; delete it" for path in files if not _intact(path)]


@dataclass(frozen=True)
class Kernel:
    """A loop that is compiled once per machine. Calling it gives what the loop returns, 0 where that is nothing."""

    name: str
    """Unique in the package."""
    signature: str
    """As numba reads it: what it returns, int64 or void, and what it takes, int64 and arrays in C order."""
    loop: Callable[[], Loop] = field(repr=False)
    """Makes the loop, put together with `part` and `leaf`; called only where it must be compiled."""
    _lock: threading.Lock = field(init=False, repr=False, compare=False, default_factory=threading.Lock)
    _ready: list[Any] = field(init=False, repr=False, compare=False, default_factory=list)

    def __call__(self, *arguments: Any) -> int:
        """Runs the machine code, without Python's lock.

        Raises:
            TypeError: an array of another type, shape or order than the signature says.
        """
        if not self._ready:
            with self._lock:
                if not self._ready:
                    self._ready.append(_callable(self.name, self._kept() or self._compiled(), self._kinds))
            _compiling.compiled()
        result, error = ctypes.c_int64(), ctypes.c_void_p()
        flat = [one for pair in zip(arguments, self._kinds, strict=True) for one in _passed(self.name, *pair)]
        if self._ready[0][0](ctypes.byref(result), ctypes.byref(error), *flat):
            raise SystemError(f"kernel {self.name} ended early")  # numba's code for an exception, which none can raise
        return result.value

    @functools.cached_property
    def _kinds(self) -> list[_Kind]:
        kinds = re.findall(r"(\w+)(?:\[([:,1]+)\])?", self.signature.partition("(")[2])
        return [_Kind(np.dtype(name), axes.count(",") + 1 if axes else 0) for name, axes in kinds]

    def _kept(self) -> bytes | None:
        path = _path(self.name)
        return _intact(path) if path and _is_ours(path) and _is_ours(path.parent) else None

    @compile_time.counted()
    def _compiled(self) -> bytes:
        import numba
        from llvmlite import binding

        made = numba.njit(self.signature, **OPTIONS)(self.loop())
        types, overload = next(iter(made.overloads.items()))
        module = binding.parse_assembly(made.inspect_llvm(types))
        module.get_function(overload.fndesc.llvm_func_name).name = self.name
        code = bytes(_target().emit_object(module))
        path = _path(self.name)
        if path:
            with contextlib.suppress(OSError):  # this process has its code all the same
                _keep(path, code)
        return code


def part(loop: Loop) -> Loop:
    """A loop that kernels call."""
    import numba

    return numba.njit(**OPTIONS)(loop)  # type: ignore[no-any-return]


def leaf(loop: Loop) -> Loop:
    """A loop that becomes part of whatever calls it; numba else compiles it by itself as well."""
    import numba

    return numba.njit(inline="always", **OPTIONS)(loop)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class _Kind:
    dtype: np.dtype[Any]
    axes: int

    def types(self) -> list[Any]:
        return [ctypes.c_int64] * (5 + 2 * self.axes if self.axes else 1)


def _passed(name: str, value: Any, kind: _Kind) -> Iterator[int]:
    """An argument as numba's functions take it: an array is owner, parent, size, bytes, address, shape and strides."""
    if not kind.axes:
        yield int(value)
        return
    if value.dtype != kind.dtype or value.ndim != kind.axes or not value.flags.c_contiguous:
        axes = "1 axis" if kind.axes == 1 else f"{kind.axes} axes"
        raise TypeError(
            f"kernel {name}: {value.dtype} of shape {value.shape}; expected {kind.dtype} of {axes} in C order"
        )
    yield from (0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides)


def _callable(name: str, code: bytes, kinds: list[_Kind]) -> tuple[Any, Any]:
    """The function, and what keeps its code in memory."""
    from llvmlite import binding

    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _target())
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    types = [one for kind in kinds for one in kind.types()]
    made = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *types)
    return made(engine.get_function_address(name)), engine


def _target() -> Any:
    """A new one for each engine, which owns it."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    cpu, features = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    return binding.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


def _path(name: str) -> Path | None:
    return _folder[0] / f"{name}.{'.'.join(_origin())}.o" if _folder else None


def _is_ours(path: Path) -> bool:
    try:
        facts = path.lstat()
    except OSError:
        return False
    link = stat.S_ISLNK(facts.st_mode)
    return not link and not facts.st_mode & _MAY_WRITE and facts.st_uid in (0, os.geteuid())


def _intact(path: Path) -> bytes | None:
    """The code in a file, if it is what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    code = content[_DIGEST:]
    return code if hashlib.sha256(code).digest() == content[:_DIGEST] else None


@functools.cache
def _origin() -> tuple[str, str]:
    """What machine code is for and what it is made of, twelve digits each."""
    from llvmlite import binding

    machine = (binding.get_default_triple(), binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())
    digest = hashlib.sha256(f"{sys.implementation.cache_tag} {version('numba')} {version('llvmlite')}".encode())
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return hashlib.sha256(repr(machine).encode()).hexdigest()[:12], digest.hexdigest()[:12]


def _keep(path: Path, code: bytes) -> None:
    """Writes the file whole or not at all, and removes what it takes the place of."""
    path.parent.mkdir(_FOLDER_MODE, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        aside.touch(_FILE_MODE)
        aside.write_bytes(hashlib.sha256(code).digest() + code)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    name, machine, _, _ = path.name.split(".")
    for other in path.parent.glob(f"{name}.{machine}.*"):
        if other != path:
            other.unlink(missing_ok=True)

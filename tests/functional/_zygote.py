"""The process that has imported everything and forks once per command; a script of its own, started by `_process`.

It imports TensorFlow, the jobs and what they load late, executes no TensorFlow operation, and waits. Per request (a
JSON line, and four descriptors: stdin, stdout, stderr, status) it forks. The child takes the request's directory,
environment and descriptors and runs the console script's `main` to the end of threads and exit handlers, so that exit
codes, tracebacks, flushing and signals are those of a process. Only taking apart every object, which the parent holds as
well, is left out: it took six times as long as the shortest command. On the status pipe stand its pid and, when it has
ended, its return code as `subprocess` counts them.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import tempfile
import threading
import warnings

_MOST_BYTES = 1 << 20
"""Largest request."""


def _import_everything() -> None:
    """What a night has in `sys.modules` at its end."""
    import recbatch
    from recbatch import _tensorflow, jobs

    _tensorflow.recommenders()
    _tensorflow.scann()
    for package in (recbatch, jobs):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in ("matplotlib.pyplot", "pyarrow.dataset", "rich.progress", "scipy.sparse", "jinja2.ext", "zoneinfo"):
        importlib.import_module(name)


def _read_templates() -> None:
    """What each command would read and translate anew, and what a first plot reads."""
    from recbatch import report
    from recbatch.report import _plots
    from recbatch.views import _render, _templates

    for kind in ("staging", "marts", "macros", "checks"):
        for name in _templates.load(kind):
            _render._template(kind, name)
    report._template()
    _plots.plot(lambda figure: figure.subplots().set_title("text"), 2.0, "")


def _no_operation_ran() -> bool:
    """Whether TensorFlow has started nothing yet: its threads would not survive a fork."""
    from tensorflow.python.eager import context

    return context.context_safe() is None or not context.context()._initialized


def serve(control: socket.socket) -> bool:
    """Forks per request until the other side closes; true in the child that is to run the command."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control, reader], [], [])
        if reader in ready:
            os.read(reader, 512)
            _tell_ends(running)
        if control not in ready:
            continue
        request, descriptors, _, _ = socket.recv_fds(control, _MOST_BYTES, 4)
        if not request:
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 counts OpenBLAS's threads, which end at a fork
            pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _become(json.loads(request), descriptors)
            for descriptor in (*running.values(), *descriptors, reader, writer, control.detach()):
                os.close(descriptor)
            return True
        for descriptor in descriptors[:3]:
            os.close(descriptor)
        running[pid] = descriptors[3]
        os.write(descriptors[3], b"%d\n" % pid)


def _tell_ends(running: dict[int, int]) -> None:
    for pid, status in list(running.items()):
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            with contextlib.suppress(BrokenPipeError):  # nobody waits any more
                os.write(status, b"%d\n" % os.waitstatus_to_exitcode(code))
            os.close(running.pop(pid))


def _become(request: dict[str, object], descriptors: list[int]) -> None:
    """Makes this fork what a fresh process would be."""
    from recbatch import _tensorflow

    for descriptor, place in zip(descriptors[:3], (0, 1, 2), strict=True):
        os.dup2(descriptor, place)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["argv"]
    tempfile.tempdir = None
    for door in (_tensorflow.tensorflow, _tensorflow.recommenders, _tensorflow.datasets, _tensorflow.scann):
        door.cache_clear()  # the first call of each sets variables


def _run() -> int:
    """The console script, and what an interpreter does at its end but for taking every object apart."""
    from recbatch.jobs.cli import main

    try:
        code = main()
    except SystemExit as error:
        code = error.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()
    atexit._run_exitfuncs()
    return code if isinstance(code, int) else int(code is not None)


def _end(code: int) -> None:
    try:
        sys.stdout.flush()
    except OSError:
        code = 120  # as the interpreter has it
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    del sys.path[0]  # this folder: a console script does not see it
    _import_everything()
    _read_templates()
    assert _no_operation_ran()
    gc.collect()
    gc.freeze()
    if serve(socket.socket(fileno=int(sys.argv[1]))):
        _end(_run())

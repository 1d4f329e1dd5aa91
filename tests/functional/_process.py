"""Commands as processes of their own, without the seconds that each would import: forks of one `_zygote`."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ZYGOTE = Path(__file__).with_name("_zygote.py")


class Forked:
    """A running command; of `subprocess.Popen` it has what tests use, and its pid is that of the command itself."""

    def __init__(self, argv, status, stdout=None, stderr=None):
        self.args, self.stdout, self.stderr = argv, stdout, stderr
        self._status = status
        self.pid = int(self._status.readline())
        self.returncode = None

    def wait(self, timeout=None):
        if self.returncode is None:
            ready, _, _ = select.select([self._status], [], [], timeout)
            if not ready:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode

    def poll(self):
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=None):
        """What is left of its output, and it has ended."""
        told = [""]
        other = threading.Thread(target=lambda: told.append(self.stderr.read()))
        other.start()
        stdout = self.stdout.read()
        other.join()
        self.stdout.close()
        self.stderr.close()
        self.wait(timeout)
        return stdout, told[-1]


class Zygote:
    """Starts `_zygote` at the first command; close it with `close`."""

    def __init__(self):
        self._process = None

    def run(self, argv, *, cwd, env, timeout):
        """As `subprocess.run` with captured text."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            job = self._fork(argv, cwd, env, out.fileno(), err.fileno())
            try:
                job.wait(timeout)
            except BaseException:
                job.kill()
                raise
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(argv, job.returncode, out.read(), err.read())

    def start(self, argv, *, cwd, env):
        """As `subprocess.Popen` with stdout and stderr as pipes of text."""
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        try:
            return self._fork(argv, cwd, env, out_end, err_end, stdout=os.fdopen(out), stderr=os.fdopen(err))
        finally:
            os.close(out_end)
            os.close(err_end)

    def _fork(self, argv, cwd, env, out, err, **pipes):
        if self._process is None:
            self._begin()
        status, status_end = os.pipe()
        request = json.dumps({"argv": argv, "cwd": str(cwd), "env": env}).encode()
        with Path(os.devnull).open() as nothing:
            socket.send_fds(self._control, [request], [nothing.fileno(), out, err, status_end])
        os.close(status_end)
        return Forked(argv, os.fdopen(status, "rb", buffering=0), **pipes)

    def _begin(self):
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, ZYGOTE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def close(self):
        if self._process is not None:
            self._control.close()
            assert self._process.wait() == 0

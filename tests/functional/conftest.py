"""The command as an operator runs it: a process of its own, in an empty directory.

The process is a fork of `_zygote`, which has imported TensorFlow already; `real=True` starts the console script itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ._process import Zygote

RECBATCH = Path(sys.executable).with_name("recbatch")
FAST = [
    *("--set", "train.epochs=30", "--set", "train.max_steps=60", "--set", "train.embedding_dim=32"),
    *("--set", "judge.users_wanted=60", "--set", "train.user_features={}"),
]
"""Enough training to beat popularity on the small world, and no more; newcomers get what is popular."""
WORLD = "sample:users=200,titles=120,seed=3"
_ZYGOTE = Zygote()


@dataclass
class Cli:
    """Runs recbatch with one lake.

    Real are the tests of what a fork cannot show: start time and what is imported (`test_commands_that_only_read…`,
    `test_no_data_and_no_network…`), the handler of SIGTERM, a night and a no-op of the demo, the twin of a forked
    night, and what starts recbatch without this class (packaging, cron).
    """

    directory: Path
    lake: Path

    def __call__(self, *arguments, code=0, env=None, real=False):
        run = _run if real else _ZYGOTE.run
        done = run(self.command(*arguments), cwd=self.directory, env=self.environment(env), timeout=300)
        assert done.returncode == code, f"exit {done.returncode}, not {code}\n{done.stdout}\n{done.stderr[-3000:]}"
        return done

    def command(self, *arguments):
        return [str(RECBATCH), *map(str, arguments)]

    def environment(self, more=None):
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RECBATCH_")}
        return kept | {"RECBATCH_LAKE": str(self.lake)} | (more or {})

    def start(self, *arguments, real=False):
        start = _start if real else _ZYGOTE.start
        return start(self.command(*arguments), cwd=self.directory, env=self.environment())

    def night(self, run_date, *arguments, source=WORLD, code=0, real=False):
        """A fast night; returns its JSON summary where it was published."""
        command = ["nightly", "--source", source, "--run-date", run_date, "--json", *FAST, *arguments]
        done = self(*command, code=code, real=real)
        return json.loads(done.stdout) if code == 0 else done.stderr

    def rows(self, query):
        return json.loads(self("sql", query, "--json").stdout)


def _run(argv, **how):
    return subprocess.run(argv, check=False, capture_output=True, text=True, **how)


def _start(argv, **how):
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


@pytest.fixture(scope="session", autouse=True)
def _zygote_ends():
    yield
    _ZYGOTE.close()


@pytest.fixture
def cli(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    return Cli(tmp_path / "elsewhere", tmp_path / "lake")


@pytest.fixture(scope="session")
def _base(tmp_path_factory):
    root = tmp_path_factory.mktemp("base")
    (root / "elsewhere").mkdir()
    Cli(root / "elsewhere", root / "lake").night("2020-02-01")
    return root / "lake"


@pytest.fixture
def base_lake(cli, _base):
    """A lake of the test's own in which 2020-02-01 is published."""
    shutil.copytree(_base, cli.lake)
    return cli.lake


@pytest.fixture(scope="session")
def shared_data():
    """Data for trials beside the checkout; its absence is the only reason to skip a test."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data")
    return folder


@pytest.fixture(scope="session")
def published(tmp_path_factory, _base):
    """Two consecutive nights of the small world, the second a reload: for tests that only read."""
    root = tmp_path_factory.mktemp("published")
    (root / "elsewhere").mkdir()
    cli = Cli(root / "elsewhere", root / "lake")
    shutil.copytree(_base, cli.lake)
    cli.night("2020-02-06")
    return cli

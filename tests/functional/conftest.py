"""The command as an operator runs it: a process of its own, in an empty directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

RECBATCH = Path(sys.executable).with_name("recbatch")
FAST = ["--set", "train.epochs=30", "--set", "train.max_steps=60", "--set", "judge.users_wanted=60"]
"""Enough training to beat popularity on the small world, and no more."""
WORLD = "sample:users=200,titles=120,seed=3"


@dataclass
class Cli:
    """Runs recbatch with one lake."""

    directory: Path
    lake: Path

    def __call__(self, *arguments, code=0, env=None):
        done = subprocess.run(
            self.command(*arguments),
            check=False,
            cwd=self.directory,
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"exit {done.returncode}, not {code}\n{done.stdout}\n{done.stderr[-3000:]}"
        return done

    def command(self, *arguments):
        return [str(RECBATCH), *map(str, arguments)]

    def environment(self, more=None):
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RECBATCH_")}
        return kept | {"RECBATCH_LAKE": str(self.lake)} | (more or {})

    def start(self, *arguments):
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.directory,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def night(self, run_date, *arguments, source=WORLD, code=0):
        """A fast night; returns its JSON summary where it was published."""
        done = self("nightly", "--source", source, "--run-date", run_date, "--json", *FAST, *arguments, code=code)
        return json.loads(done.stdout) if code == 0 else done.stderr

    def rows(self, query):
        return json.loads(self("sql", query, "--json").stdout)


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


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Two consecutive nights of the small world, the second a reload: for tests that only read."""
    root = tmp_path_factory.mktemp("published")
    (root / "elsewhere").mkdir()
    cli = Cli(root / "elsewhere", root / "lake")
    cli.night("2020-02-01")
    cli.night("2020-02-06")
    return cli

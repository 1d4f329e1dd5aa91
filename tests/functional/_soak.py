"""Consecutive nights as an operator runs them, on a generated world of which a sliding window of days is there.

Each day of the world is a file `interactions/date=…/part.parquet`. Night after night a day is added and the oldest one
goes; users and titles are those of the window, so that both arrive and leave. The world itself grows.
"""

import contextlib
import itertools
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs import _input, _model, _plan
from recbatch import evaluate, score, sources
from recbatch.config import Config, Source
from recbatch.contracts import Lists
from recbatch.rules import NONE
from recbatch.store import Lake

from ._laws import law_1, state
from .conftest import FAST
from .test_nights import put_a_useless_model_on_the_shelf

FIRST_NIGHT = date(2020, 3, 1)
"""Long after the dense first month, so that every window holds as many events as the next."""
KEPT_RUNS = 5
GC = ("--set", "gc.keep_days=0", "--set", f"gc.keep_runs={KEPT_RUNS}")
SETTINGS = (*FAST, "--set", "judge.users_needed=20", "--memory-budget", "3GiB")
WORLD = "sample:users=400,titles=300,seed=5,events_per_user=20,events_per_day=160"
RECORD = 150_000
"""Bytes that may stay of a night for `gc.keep_history_days`: manifest, metrics, audits, and what happened afterwards."""
SLOWER, LARGER = 1.5, 1.25
"""The last ten nights may take this much longer, and this much more memory, than the first ten."""
READER = Path(__file__).with_name("_reader.py")


@dataclass
class World:
    """The operator's folder of dated input."""

    folder: Path
    nights: int
    window: int = 20

    def __post_init__(self):
        until = FIRST_NIGHT + timedelta(days=self.nights)
        tables = sources.read(Source(uri=WORLD), before=until, today=until)
        self.items, self.users = tables.items, tables.users
        days = tables.interactions["occurred_at"].cast(pa.date32(), safe=False)
        first = FIRST_NIGHT - timedelta(days=self.window)
        dates = [first + timedelta(days=at) for at in range(self.window + self.nights)]
        self.days = {day: tables.interactions.filter(pc.equal(days, pa.scalar(day))) for day in dates}

    def path(self, day):
        return self.folder / "interactions" / f"date={day}" / "part.parquet"

    def turn_to(self, night):
        """Makes the folder what it is on the eve of a night."""
        shown = [night - timedelta(days=back) for back in range(self.window, 0, -1)]
        for day in shown:
            if not self.path(day).exists():
                self.write(day, self.days[day])
        for folder in (self.folder / "interactions").iterdir():
            if folder.name < f"date={shown[0]}":
                shutil.rmtree(folder)
        events = self.window_of(night)
        for name, table, key in (("items", self.items, "item_id"), ("users", self.users, "user_id")):
            present = table.filter(pc.is_in(table[key], value_set=pc.unique(events[key].cast(pa.string()))))
            pq.write_table(present, self.folder / f"{name}.parquet")

    def window_of(self, night):
        """The events that are there on the eve of a night."""
        return pa.concat_tables([self.days[night - timedelta(days=back)] for back in range(self.window, 0, -1)])

    def comings_and_goings(self, column):
        """How many users, or titles, come into the folder after the first night, and how many leave it."""
        nights = [FIRST_NIGHT + timedelta(days=number) for number in range(self.nights)]
        there = [set(self.window_of(night)[column].to_pylist()) for night in nights]
        pairs = list(itertools.pairwise(there))
        return sum(len(after - before) for before, after in pairs), sum(len(before - after) for before, after in pairs)

    def write(self, day, table):
        self.path(day).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, self.path(day))


def size(folder):
    """Bytes of the files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def records(lake):
    """Bytes of what stays of every night, deleted or not."""
    return size(lake / "history") + size(lake / "outcomes")


@dataclass
class Soak:
    """Runs the nights and holds every law against each."""

    cli: object
    world: World
    aside: Path
    lines: list[dict] = field(default_factory=list)
    curve: dict[str, float] = field(default_factory=dict)
    """Run date → realised ndcg@10 of the day after."""
    read: dict = field(default_factory=dict)
    """What the reader saw."""

    @property
    def source(self):
        return f"files:{self.world.folder}"

    def command(self, night):
        return ["nightly", "--source", self.source, "--run-date", night, "--json", *SETTINGS]

    def run(self, faults):
        """Every night of the world; `faults` maps the number of a night, from 0, to what happens in it."""
        self.night(0, faults)
        with self.read_without_end():
            for number in range(1, self.world.nights):
                self.night(number, faults)

    def night(self, number, faults):
        """The eve, the night, and the morning after it."""
        night = FIRST_NIGHT + timedelta(days=number)
        self.world.turn_to(night)
        began = time.monotonic()
        before = state(self.cli.lake) if number else {}
        more = faults[number](self, night, before) if number in faults else ()
        done = json.loads(self.cli(*self.command(night), *more).stdout)
        nightly = time.monotonic() - began
        if number:
            self.judge(night)
        self.cli("gc", *GC)
        self.hold(number, night, done)
        self.lines.append(
            {
                "night": str(night),
                "fault": faults[number].__name__ if number in faults else None,
                "seconds": sum(done["seconds"].values()),
                "with_faults": nightly,
                "peak": done["peak_bytes"],
                "lake": size(self.cli.lake) - records(self.cli.lake),
                "records": records(self.cli.lake),
                "users": done["users"],
                "titles": done["items"],
            }
        )

    def judge(self, night):
        """Judges last night by its day, and enters what came out into the curve."""
        eve = night - timedelta(days=1)
        self.cli("evaluate", "--run-date", eve, "--until", night)
        query = "select run_date, value from realised_metrics where metric = 'ndcg' and k = 10 and segment = 'all'"
        for row in self.cli.rows(f"{query} and source = 'all' and horizon_days = 1"):
            self.curve[row["run_date"]] = row["value"]
        trend = json.loads(self.cli("report", "--history", "--json").stdout)
        assert any(line["run_id"] == f"{eve}.1" and line["realised"] is not None for line in trend), "the report has it"
        told = [
            f"{day} {self.curve[str(day)]:.3f}"
            for day in (eve - timedelta(days=n) for n in (3, 2, 1))
            if str(day) in self.curve
        ]
        page = (self.cli.lake / "runs" / f"{night}.1" / "report.html").read_text("utf-8")
        assert all(point in page.split("Realised, 1 day: ")[-1] for point in told), "so has the page of the night"

    def hold(self, number, night, done):
        """The laws on what stands in the lake after a night."""
        lake = self.cli.lake
        law_1(lake)
        latest = json.loads((lake / "latest.json").read_text())
        [live] = self.cli.rows("select run_id, parent, trained_before from runs order by run_date desc limit 1")
        assert latest["run_id"] == live["run_id"] == done["run_id"] == f"{night}.1", "law 2: both ways in agree"
        assert live["trained_before"] <= str(night), "law 3"
        assert live["parent"] == (f"{night - timedelta(days=1)}.1" if number else None), "law 3"
        assert done["status"] == "published", "law 4"
        assert list((lake / "_staging").iterdir()) == [], "law 5"
        assert not (lake / "_resume").exists(), "law 5"
        assert done["certificate"]["passed"], "law 6"
        assert done["peak_bytes"] <= 3 * 2**30, "law 7"
        self.law_8(night)
        assert self.cli("verify").returncode == 0
        assert len(list((lake / "runs").iterdir())) <= KEPT_RUNS, "retention"
        assert len(list((lake / "_cache").iterdir())) <= self.world.window, "a day that left is not kept"

    def law_8(self, night):
        """The lists once more, by the other of each pair of twins, are the same to the bit.

        ScaNN's exact search instead of ours, many batches instead of one, in one go where the night was resumed.
        """
        lake, run = Lake(self.cli.lake), self.cli.lake / "runs" / f"{night}.1"
        head = json.loads((run / "manifest.json").read_text())
        chosen = Config.model_validate(head["config"])
        chosen = chosen.model_copy(update={"index": chosen.index.model_copy(update={"engine": "brute"})})
        data = _input.Input(chosen, night).dataset(lake, night)
        model = _model.of_parent(lake, data, chosen, head, "the same night once more")
        popular = score.by_popularity(data, data.events, data.run_date, chosen.popular)
        plan = _plan.plan(lake, model, evaluate.nothing_judged("law 8"), data, popular, chosen, NONE, None, None)
        assert (head["engine"], plan.engine) == ("exact", "brute")
        k, length = chosen.score.k, chosen.score.k + chosen.score.buffer
        users = np.arange(data.num_users, dtype=np.int32)
        lists = Lists.joined(list(plan.ranker.rank_all(data.events, users, length, 37)))
        for table, ranks in (("recommendations", (1, k)), ("recommendations_buffer", (k + 1, length))):
            there = pq.read_table(run / table)
            assert score.to_table(lists, data, *ranks).cast(there.schema).equals(there), f"law 8: {table}"
        agreed = [audit["passed"] for audit in head["audits"] if audit["check"] == "metrics_agree_with_holdout"]
        assert agreed == [True], "law 8: SQL and NumPy"

    @contextlib.contextmanager
    def read_without_end(self):
        """Law 2: a reader in another process asks once a second from the second night to the last."""
        command = [sys.executable, READER, "nights", self.cli.lake, "1"]
        job = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert job.stdout.readline() == "reading\n"
            yield
            self.read = json.loads(job.communicate("")[0])
        finally:
            job.kill()
            job.wait()
        assert (self.read["errors"], self.read["mixtures"]) == ([], []), "law 2"

    def flat(self):
        """Medians of time, memory and size of the lake over ten nights at the start and at the end.

        The first nights fill the retention and are left out, as are those with a fault.
        """
        calm = [line for line in self.lines if not line["fault"]]
        first, last = calm[KEPT_RUNS : KEPT_RUNS + 10], calm[-10:]
        return {
            key: [statistics.median(line[key] for line in part) for part in (first, last)]
            for key in ("seconds", "peak", "lake")
        }


def bad_input(soak, night, before):
    """Half of the newest day has no user: exit 65, readers keep what they had; then the file is put right."""
    day = night - timedelta(days=1)
    good = soak.world.days[day]
    rows = pa.array([None if at % 2 else name for at, name in enumerate(good["user_id"].to_pylist())], pa.string())
    schema = pa.schema([one.with_nullable(True) for one in good.schema])
    soak.world.write(day, good.cast(schema).set_column(0, "user_id", rows))
    said = soak.cli(*soak.command(night), code=65).stderr
    assert "null_id" in said, said
    assert state(soak.cli.lake) == before
    soak.world.write(day, good)
    return ()


def kill(soak, night, before):
    """kill -9 while users are scored: the next start finds the lake as it was, and finishes."""
    job = soak.cli.start(*soak.command(night))
    for line in job.stderr:
        if '"event": "stage"' in line and '"stage": "score"' in line:
            break
    job.send_signal(signal.SIGKILL)
    job.communicate()
    seen = state(soak.cli.lake)
    assert before.items() <= seen.items()
    return ()


def full_disk(soak, night, before):
    """No room is left, or, where nobody may mount a disk, no file may grow: exit 74, readers keep what they had."""
    ballast = soak.cli.lake.parent / "ballast"
    if ballast.parent.is_mount():
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(ballast.parent).free - 200_000)
        said = soak.cli(*soak.command(night), code=74).stderr
        assert "the disk is full" in said, said
        ballast.unlink()
    else:
        command = "ulimit -f 16; exec " + shlex.join(soak.cli.command(*soak.command(night)))
        where = {"cwd": soak.cli.directory, "env": soak.cli.environment()}
        done = subprocess.run(["/bin/sh", "-c", command], check=False, capture_output=True, text=True, **where)
        assert done.returncode == 74, done.stderr[-500:]
    assert state(soak.cli.lake) == before
    return ()


def bad_model(soak, night, before):
    """Training gone wrong: the gate stops the model, and the parent's meets tonight's histories."""
    cold = (*SETTINGS, "--train", "always", "--set", "train.warm_start=false")
    put_a_useless_model_on_the_shelf(soak.cli, soak.aside, str(night), *cold, source=soak.source)
    shutil.rmtree(soak.aside)
    return cold[len(SETTINGS) :]

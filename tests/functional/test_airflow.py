"""The DAG in a real Airflow 3 (`make test-airflow`): import, `dags test`, a failing night and its retry, the scheduler."""

import fcntl
import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest

from .conftest import RECBATCH, WORLD, Cli

pytestmark = pytest.mark.airflow

ROOT = Path(__file__).resolve().parents[2]
AIRFLOW = Path(os.environ.get("AIRFLOW_VENV", ROOT / ".venv-airflow")) / "bin" / "airflow"
SETTINGS = f"""
[source]
uri = "{WORLD}"
[train]
epochs = 30
max_steps = 60
[judge]
users_wanted = 60
"""


class Airflow:
    """One Airflow home with the DAG, and a lake."""

    def __init__(self, root):
        (root / "elsewhere").mkdir()
        (root / "recbatch.toml").write_text(SETTINGS)
        self.cli, self.home = Cli(root / "elsewhere", root / "lake"), root / "airflow"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "RECBATCH_", "PYTHON"))
        }
        self.environment = kept | {
            "PATH": f"{AIRFLOW.parent}:{kept['PATH']}",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "cron" / "airflow"),
            "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
            "AIRFLOW__API__BASE_URL": address,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW_VAR_RECBATCH_COMMAND": str(RECBATCH),
            "AIRFLOW_VAR_RECBATCH_LAKE": str(root / "lake"),
            "AIRFLOW_VAR_RECBATCH_CONFIG": str(root / "recbatch.toml"),
        }
        self("db", "migrate")

    def __call__(self, *words):
        done = subprocess.run(
            [AIRFLOW, *words], env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def rows(self, query):
        with sqlite3.connect(self.home / "airflow.db", timeout=30) as con:
            return con.execute(query).fetchall()

    def tasks(self):
        """Task → state, of the newest DAG run; and how often the night was tried."""
        query = "select task_id, state, try_number from task_instance where run_id = (select run_id from dag_run order by id desc limit 1)"
        found = {task: (state, tries) for task, state, tries in self.rows(query)}
        return {task: state for task, (state, _) in found.items()}, found["night"][1]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    assert AIRFLOW.exists(), "run `make test-airflow`"
    return Airflow(tmp_path_factory.mktemp("airflow"))


def published(airflow):
    return [run["run_id"] for run in json.loads(airflow.cli("runs", "--json").stdout)]


DONE = dict.fromkeys(("check_input", "night", "evaluate", "notify"), "success")


def test_the_dag_imports(airflow):
    code, said = airflow("dags", "list-import-errors", "--local", "--output", "json")
    assert code == 0
    assert "recbatch_nightly.py" not in said
    assert "recbatch_nightly" in airflow("dags", "list", "--local", "--output", "plain")[1]


def test_a_date_a_manual_run_a_date_that_is_done_and_an_earlier_date(airflow):
    assert airflow("dags", "test", "recbatch_nightly", "2020-02-02T03:15:00+00:00")[0] == 0
    assert airflow.tasks()[0] == DONE
    assert published(airflow) == ["2020-02-02.1"]
    code, said = airflow("dags", "test", "recbatch_nightly", "--conf", '{"run_date": "2020-02-03"}')
    assert code == 0, said[-3000:]
    assert published(airflow) == ["2020-02-03.1", "2020-02-02.1"]
    assert "judged by what happened since: 2020-02-02.1" in said
    airflow("dags", "test", "recbatch_nightly", "2020-02-02T03:16:00+00:00")
    assert airflow.tasks()[0] == {
        "check_input": "success",
        "night": "skipped",
        "evaluate": "skipped",
        "notify": "skipped",
    }
    airflow("dags", "test", "recbatch_nightly", "2020-01-31T03:15:00+00:00")
    assert published(airflow) == ["2020-02-03.1", "2020-02-02.1", "2020-01-31.1"], "history grows, readers stay"


def test_bad_input_fails_at_once_and_a_held_lock_is_tried_again(airflow):
    airflow("dags", "test", "recbatch_nightly", "2020-02-04", "--conf", '{"source": "files:/nowhere"}')
    assert airflow.tasks()[0]["check_input"] == "failed"
    airflow("dags", "test", "recbatch_nightly", "2020-02-04T03:00:00+00:00", "--conf", '{"source": "sample:nothing=1"}')
    states, tries = airflow.tasks()
    assert (states["night"], tries) == ("failed", 1)
    assert states["notify"] == "upstream_failed"
    held = (airflow.cli.lake / "_lock").open("r+")
    fcntl.flock(held, fcntl.LOCK_EX)

    def let_go():
        while not any(state == "up_for_retry" for (state,) in airflow.rows("select state from task_instance")):
            time.sleep(0.2)
        held.close()

    waiting = threading.Thread(target=let_go)
    waiting.start()
    code, said = airflow("dags", "test", "recbatch_nightly", "2020-02-05T03:15:00+00:00")
    waiting.join(60)
    assert code == 0
    assert "another run holds the lock" in said
    states, tries = airflow.tasks()
    assert states == DONE
    assert tries > 1


def test_the_scheduler_runs_a_schedule_a_trigger_and_a_backfill(airflow):
    service = subprocess.Popen(
        [AIRFLOW, "standalone"], env=airflow.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def wait_for(query, wanted):
        deadline = time.monotonic() + 480
        while airflow.rows(query) != wanted:
            assert time.monotonic() < deadline, airflow.rows("select run_id, task_id, state from task_instance")
            time.sleep(1)

    try:
        wait_for("select dag_id from dag where is_stale = 0 and is_paused = 1", [("recbatch_nightly",)])
        before = airflow.rows("select coalesce(max(id), 0) from dag_run")[0][0]
        window = ["--from-date", "2020-02-08", "--to-date", "2020-02-10"]
        assert airflow("backfill", "create", "--dag-id", "recbatch_nightly", *window)[0] == 0
        assert airflow("dags", "unpause", "recbatch_nightly", "--yes")[0] == 0
        assert airflow("dags", "trigger", "recbatch_nightly", "--conf", '{"run_date": "2020-02-07"}')[0] == 0
        count = f"select run_type, state, count(*) from dag_run where id > {before} group by 1, 2 order by 1"
        wait_for(count, [("backfill", "success", 2), ("manual", "success", 1), ("scheduled", "success", 1)])
    finally:
        os.killpg(service.pid, signal.SIGTERM)
        service.wait(60)
    assert {"2020-02-07.1", "2020-02-08.1", "2020-02-09.1"} <= set(published(airflow))
    assert airflow.rows("select count(*) from asset_event")[0][0] >= 4

"""recbatch in Airflow 3: check the input, run the night, judge earlier nights by what happened since, notify.

Put this file into the dags folder. recbatch stays in a virtual environment of its own; nothing of it is imported here.
Airflow Variables (all optional, read when a task runs):

    recbatch_command      path of the console script        /srv/recbatch/.venv/bin/recbatch
    recbatch_lake         the lake                          /srv/recbatch/lake
    recbatch_config       recbatch.toml                     none
    recbatch_notify_url   gets {"text": …} by POST          none: the task's log only

The run date is the UTC day on which a data interval ends: for a scheduled run and for each run of `airflow backfill
create` the day it stands for, for a manual run without a logical date the day it was started; the parameter `run_date`
wins over all.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from datetime import UTC, date, datetime, timedelta

from airflow.sdk import Asset, CronTriggerTimetable, Param, Variable, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

RETRIED = (69, 75)
NO_NEWS = (65,)
HORIZON_DAYS = (1, 3, 7, 14, 30)
PUBLISHED = Asset("recbatch_recommendations")


def day_of(context) -> date:
    """The run date of a DAG run, whatever started it."""
    if context["params"].get("run_date"):
        return date.fromisoformat(context["params"]["run_date"])
    run = context["dag_run"]
    moment = context.get("data_interval_end") or context.get("logical_date") or run.run_after
    return moment.astimezone(UTC).date()


def recbatch(*words, context, accept=()):
    """Runs the command; returns its exit code and output, or raises what Airflow should do about it."""
    command = [Variable.get("recbatch_command", "/srv/recbatch/.venv/bin/recbatch"), *words]
    environment = os.environ | {"RECBATCH_LAKE": Variable.get("recbatch_lake", "/srv/recbatch/lake")}
    config = Variable.get("recbatch_config", None)
    if config:
        environment["RECBATCH_CONFIG"] = config
    environment |= lineage_parent(context)
    last = ""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as job:
        try:
            for line in job.stderr:
                last = line.strip() or last
                print(last, flush=True)
            output = job.stdout.read()
        except BaseException:
            job.terminate()  # the task was stopped: the night ends with 143 and leaves readers as they were
            raise
    if job.returncode in (0, *accept):
        return job.returncode, output
    text = f"recbatch {words[0]}: exit {job.returncode}: {last or output.strip()}"
    raise (AirflowException if job.returncode in RETRIED else AirflowFailException)(text)


def lineage_parent(context):
    """The parent run for OpenLineage, where Airflow's own provider is installed."""
    try:
        from airflow.providers.openlineage.plugins.macros import lineage_parent_id
    except ImportError:
        return {}
    return {"OPENLINEAGE_PARENT_ID": lineage_parent_id(context["ti"])}


def tell(text) -> None:
    """One line to the log, and to recbatch_notify_url where that is set; what goes wrong there fails nothing."""
    print(text, flush=True)
    url = Variable.get("recbatch_notify_url", None)
    if not url:
        return
    body = json.dumps({"text": text}).encode()
    try:
        urllib.request.urlopen(
            urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=10
        ).close()
    except (OSError, ValueError) as error:
        print(f"notification not delivered: {error}", flush=True)


def failed(context) -> None:
    """The task failed for good."""
    tell(f"recbatch {day_of(context)}, {context['ti'].task_id}: {context.get('exception')}")


def from_source(context):
    """`--source`, where the run names one."""
    return ["--source", context["params"]["source"]] if context["params"].get("source") else []


@dag(
    dag_id="recbatch_nightly",
    schedule=CronTriggerTimetable("15 3 * * *", timezone="UTC"),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 5, "retry_exponential_backoff": True, "on_failure_callback": failed},
    params={
        "source": Param(
            None, type=["null", "string"], description="As recbatch nightly --source; none: the settings'."
        ),
        "run_date": Param(None, type=["null", "string"], format="date", description="None: the day of the run."),
    },
    doc_md=__doc__,
    tags=["recbatch"],
)
def recbatch_nightly():
    """Four fat tasks, one after the other."""

    @task
    def check_input() -> list[str]:
        """`recbatch doctor`: settings, input, disk, permissions; what only warns does not stop the night."""
        context = get_current_context()
        source = from_source(context)
        settings = ["--set", f"source.uri={source[1]}"] if source else []
        _, output = recbatch("doctor", "--json", *settings, context=context, accept=(1,))
        findings = json.loads(output)["findings"]
        lines = [f"{one['outcome']} {one['check']}: {one['found']} {one['cure']}" for one in findings]
        print("\n".join(lines))
        faults = [line for one, line in zip(findings, lines) if one["outcome"] == "fail"]
        if faults:
            raise AirflowFailException("; ".join(faults))
        return lines

    # One at a time over all DAG runs: a backfill's runs would only wait for the lake's lock.
    @task(outlets=[PUBLISHED], max_active_tis_per_dag=1, execution_timeout=timedelta(hours=12))
    def night() -> dict:
        """`recbatch nightly`; skipped where the date is done."""
        context = get_current_context()
        words = ["--json", "--run-date", day_of(context).isoformat(), *from_source(context)]
        _, output = recbatch("nightly", *words, context=context)
        summary = json.loads(output)
        if summary["note"]:
            raise AirflowSkipException(f"{summary['run_id']}: {summary['note']}")
        return {name: summary[name] for name in ("run_id", "status", "users", "engine", "rows")}

    @task(max_active_tis_per_dag=1)
    def evaluate() -> list[str]:
        """`recbatch evaluate` of the runs whose first 1, 3, 7, 14 or 30 days are over on the run date."""
        context = get_current_context()
        today = day_of(context)
        _, output = recbatch("runs", "--json", context=context)
        judged = []
        for run in json.loads(output):
            if run["status"] not in ("published", "degraded"):
                continue
            if (today - date.fromisoformat(run["run_date"])).days not in HORIZON_DAYS:
                continue
            words = ["--run-date", run["run_date"], "--until", today.isoformat(), *from_source(context)]
            code, _ = recbatch("evaluate", *words, context=context, accept=NO_NEWS)
            if code == 0:
                judged.append(run["run_id"])
        return judged

    @task
    def notify(summary: dict, judged: list[str]) -> str:
        """One line of what was published; failures are told by `failed`."""
        text = (
            f"recbatch {summary['run_id']} {summary['status']}: {summary['users']:,} users,"
            f" {summary['rows']['recommendations']:,} rows, {summary['engine']} search;"
            f" judged by what happened since: {', '.join(judged) or 'none'}"
        )
        tell(text)
        return text

    summary = night()
    judged = evaluate()
    check_input() >> summary >> judged
    notify(summary, judged)


recbatch_nightly()

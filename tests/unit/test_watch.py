"""Who hears how a night went: the textfile, a monitor over real HTTP, OpenLineage into a file. None can fail a night."""

import json
import logging
import os
import threading
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs import _lake, _metrics, _run, _watch
from jobs._ping import ping
from jobs._say import Say
from recbatch import config
from recbatch.errors import ConfigError, DataError
from recbatch.store import Lake
from tests.unit import _lake_fixture as hand

DAY = date(2026, 3, 1)
AUDITS = [
    {"check": "a", "severity": "error", "passed": False},
    {"check": "b", "severity": "warn", "passed": False},
    {"check": "c", "severity": "error", "passed": True},
]


@contextmanager
def monitor(answer=200, wait=None, location=None):
    """A healthchecks-style server; yields its address and what it heard: (path, body)."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            if wait:
                wait.wait(30)
            self.send_response(answer)
            if location:
                self.send_header("Location", location)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/a-secret", heard
    finally:
        if wait:
            wait.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Only read here."""
    lake = Lake(tmp_path_factory.mktemp("watch") / "lake")
    hand.publish(
        lake,
        hand.FIRST,
        audits=AUDITS,
        certificate={"recall": 0.9975},
        config={},
        finished_at="2026-03-01T02:10:00+00:00",
        fingerprint="f",
    )
    _lake.commit(lake, [hand.FIRST])
    return lake


def figures(path):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def attempt(code=0, run_id=hand.FIRST, minutes=30):
    begun = datetime(2026, 3, 1, 2, tzinfo=UTC)
    return _metrics.Attempt(run_id, begun, begun + timedelta(minutes=minutes), code, {"read": 1.5, "train": 60.0})


def test_the_textfile_holds_the_attempt_and_what_readers_see(lake, tmp_path):
    path = tmp_path / "recbatch.prom"
    before = os.umask(0o077)
    try:
        _metrics.write(path, lake, attempt())
    finally:
        os.umask(before)
    found = figures(path)
    ended = datetime(2026, 3, 1, 2, 30, tzinfo=UTC).timestamp()
    assert found["recbatch_night_exit_code",] == 0
    assert found["recbatch_night_last_success_timestamp_seconds",] == ended
    assert found["recbatch_night_duration_seconds",] == 1800
    assert found["recbatch_night_stage_seconds", "train"] == 60
    assert found["recbatch_night_audit_failures", "error"] == 1
    assert found["recbatch_night_audit_failures", "warn"] == 1
    assert found["recbatch_published_users",] == 3
    assert found["recbatch_published_rows", "recommendations"] == len(hand.tables()["recommendations"])
    assert found["recbatch_published_index_recall",] == 0.9975
    assert found["recbatch_published_age_seconds",] == 20 * 60
    assert path.stat().st_mode & 0o777 == 0o644, "node_exporter is another user"
    assert [p.name for p in tmp_path.glob("recbatch.prom*")] == ["recbatch.prom"]


def test_a_failed_attempt_keeps_the_last_success_and_what_readers_see(lake, tmp_path):
    path = tmp_path / "recbatch.prom"
    _metrics.write(path, lake, attempt())
    _metrics.write(path, lake, attempt(75, run_id=None, minutes=90))
    found = figures(path)
    assert found["recbatch_night_exit_code",] == 75
    assert (
        found["recbatch_night_last_success_timestamp_seconds",] == datetime(2026, 3, 1, 2, 30, tzinfo=UTC).timestamp()
    )
    assert found["recbatch_published_age_seconds",] == 80 * 60
    assert "recbatch_night_audit_failures" not in {name for name, *_ in found}


def test_without_a_lake_or_a_readable_file_the_attempt_is_told_all_the_same(tmp_path):
    path = tmp_path / "recbatch.prom"
    path.write_bytes(b"\x00{{{")
    _metrics.write(path, Lake(tmp_path / "none"), attempt(66, None))
    found = figures(path)
    assert found["recbatch_night_exit_code",] == 66
    assert not [name for name, *_ in found if name.startswith("recbatch_published") or "success" in name]


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def run_watched(lake, given, error=None, config_error=None):
    """A night that does nothing, watched."""
    overrides = {"source.uri": "sample"} | given
    with Say() as say, _watch.watched(lake, say, DAY, given) as watch:
        if config_error:
            raise config_error
        watch.begin(config.load(overrides=overrides))
        say.run_id = hand.FIRST
        say.stage("read")
        if error:
            raise error
        watch.done = _run.Night(_lake.manifest_of(lake, hand.FIRST), "nothing to do")


def test_a_monitor_hears_start_and_success(lake):
    with monitor() as (url, heard):
        run_watched(lake, {"ops.ping_url": url + "?create=1"})
    assert [path for path, _ in heard] == ["/a-secret/start?create=1", "/a-secret?create=1"]
    assert '"event": "done"' in heard[-1][1]


def test_a_monitor_hears_of_a_failure_with_the_last_lines(lake, tmp_path):
    given = {"ops.metrics_file": str(tmp_path / "m.prom")}
    with monitor() as (url, heard), pytest.raises(DataError):
        run_watched(lake, given | {"ops.ping_url": url}, DataError("ratings.csv, row 7: bad; cure"))
    assert [path for path, _ in heard] == ["/a-secret/start", "/a-secret/fail"]
    lines = heard[-1][1].splitlines()
    assert json.loads(lines[0])["stage"] == "read"
    assert json.loads(lines[1]) | {"at": 0} == {
        "at": 0,
        "event": "failed",
        "run_id": hand.FIRST,
        "exit_code": 65,
        "error": "ratings.csv, row 7: bad; cure",
    }
    assert lines[2] == "exit 65: ratings.csv, row 7: bad; cure"
    assert figures(tmp_path / "m.prom")["recbatch_night_exit_code",] == 65


def test_settings_that_are_unsound_are_told_where_the_watchers_are_named_apart(lake, tmp_path):
    with monitor() as (url, heard), pytest.raises(ConfigError):
        run_watched(
            lake,
            {"ops.ping_url": url, "ops.metrics_file": str(tmp_path / "m.prom")},
            config_error=ConfigError("unknown setting train.epoch"),
        )
    assert [path for path, _ in heard] == ["/a-secret/start", "/a-secret/fail"]
    assert figures(tmp_path / "m.prom")["recbatch_night_exit_code",] == 78


@pytest.mark.parametrize(
    ("answer", "location"), [(500, None), (404, None), (302, "ftp://127.0.0.1/x"), (302, "file:///etc")]
)
def test_a_monitor_that_refuses_fails_nothing_and_its_address_stays_secret(lake, capsys, answer, location):
    with monitor(answer, location=location) as (url, heard):
        run_watched(lake, {"ops.ping_url": url})
    assert len(heard) == 2
    failed = [event for event in events(capsys) if event["event"] == "ping_failed"]
    assert [event["ping"] for event in failed] == ["start", "success"]
    assert "a-secret" not in json.dumps(failed)


def test_a_monitor_that_never_answers_delays_by_the_timeout_only(capsys):
    with monitor(wait=threading.Event()) as (url, _), Say() as say:
        begun = datetime.now(UTC)
        ping(url, "", [], 0.2, say)
        assert datetime.now(UTC) - begun < timedelta(seconds=3)
    [failed] = events(capsys)
    assert failed["event"] == "ping_failed"


def test_a_monitor_that_is_not_there_and_a_file_that_cannot_be_written_fail_nothing(lake, capsys):
    with monitor() as (gone, _):
        pass
    run_watched(lake, {"ops.ping_url": gone, "ops.metrics_file": "/proc/nowhere/m.prom"})
    assert {"metrics_failed", "ping_failed"} <= {event["event"] for event in events(capsys)}


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "https://", "javascript:1", ""])
def test_only_web_addresses_are_monitors(url):
    with pytest.raises(ConfigError, match=r"ops.ping_url"):
        config.load(overrides={"ops.ping_url": url})


@pytest.fixture
def lineage_file(tmp_path, monkeypatch):
    settings = tmp_path / "openlineage.yml"
    settings.write_text(f"transport: {{type: file, log_file_path: {tmp_path / 'events.jsonl'}, append: true}}\n")
    monkeypatch.setenv("OPENLINEAGE_CONFIG", str(settings))
    logging.getLogger("openlineage").setLevel(logging.CRITICAL)
    return tmp_path / "events.jsonl"


PARENT = "airflow/recbatch_nightly.night/0190a6b0-6a5b-7c3d-8e2f-0123456789ab"


def watch_lineage(lake, parent, error=None):
    with Say() as say, _watch.watched(lake, say, DAY, {}, parent) as watch:
        watch.begin(config.load(overrides={"source.uri": "files:/data/events", "ops.lineage": True}))
        if error:
            raise error
        watch.done = _run.Night(_lake.manifest_of(lake, hand.FIRST), "nothing to do")


def test_lineage_names_input_outputs_and_the_parent(lake, lineage_file):
    watch_lineage(lake, PARENT)
    start, done = map(json.loads, lineage_file.read_text().splitlines())
    assert (start["eventType"], done["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == done["run"]["runId"]
    assert start["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2026-03-01T00:00:00Z"
    parent = done["run"]["facets"]["parent"]
    assert (parent["job"]["namespace"], parent["job"]["name"]) == ("airflow", "recbatch_nightly.night")
    assert parent["run"]["runId"] == PARENT.rsplit("/", 1)[1]
    assert (done["inputs"][0]["namespace"], done["inputs"][0]["name"]) == ("file", "/data/events")
    outputs = {item["name"].rsplit("/", 1)[1]: item for item in done["outputs"]}
    rows = outputs["recommendations"]["outputFacets"]["outputStatistics"]["rowCount"]
    assert rows == len(hand.tables()["recommendations"])
    assert outputs["users"]["facets"]["version"]["datasetVersion"] == hand.FIRST


def test_lineage_of_a_failure_says_why_and_a_parent_that_is_none_is_left_out(lake, lineage_file, capsys):
    with pytest.raises(DataError):
        watch_lineage(lake, "not a parent", DataError("row 7"))
    *_, failed = map(json.loads, lineage_file.read_text().splitlines())
    assert failed["eventType"] == "FAIL"
    assert failed["run"]["facets"]["errorMessage"]["message"] == "row 7"
    assert "parent" not in failed["run"]["facets"]
    assert "lineage_parent_ignored" in {event["event"] for event in events(capsys)}


def test_a_lineage_server_that_is_down_fails_nothing(lake, tmp_path, monkeypatch, capsys):
    with monitor() as (gone, _):
        pass
    settings = tmp_path / "openlineage.yml"
    settings.write_text(f"transport: {{type: http, url: '{gone}', retry: {{total: 0}}, timeout: 1}}\n")
    monkeypatch.setenv("OPENLINEAGE_CONFIG", str(settings))
    watch_lineage(lake, None)
    assert [event["kind"] for event in events(capsys) if event["event"] == "lineage_failed"] == ["START", "COMPLETE"]

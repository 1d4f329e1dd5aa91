"""Help, errors and exit codes: the operator's side of the command."""

import io
import json
import re
import shlex
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import cli as cli_module

from .conftest import RECBATCH

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")


def commands():
    """Every command as its words, groups left out."""
    found = []
    for name in cli_module.cli.list_commands(None):
        command = cli_module.cli.get_command(None, name)
        found += [(name, inner) for inner in command.commands] if hasattr(command, "commands") else [(name,)]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_an_example_in_its_help_that_parses(words):
    command = cli_module.cli
    for word in words:
        command = command.get_command(None, word)
    examples = re.findall(rf"^    recbatch {' '.join(words)}\b.*$", command.help, re.MULTILINE)
    assert examples
    for example in examples:
        arguments = shlex.split(re.split(r" [|>] ", example)[0])[1 + len(words) :]
        command.make_context(words[-1], arguments, resilient_parsing=False)


def test_bash_completes_commands_and_options_as_the_readme_says(cli):
    [line] = re.findall(r"`(eval \"\$\(_RECBATCH_COMPLETE=bash_source recbatch\)\")` in `~/.bashrc`", README)
    ask = 'COMPREPLY=(); COMP_WORDS=({}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _recbatch_completion recbatch; echo "${{COMPREPLY[*]}}"'
    words = ["recbatch stat", "recbatch backfill --jo"]
    script = "\n".join([line, "complete -p recbatch", *map(ask.format, words)])
    environment = cli.environment() | {"PATH": f"{RECBATCH.parent}:/usr/bin:/bin"}
    bash = ["bash", "--norc", "-c", script]
    done = subprocess.run(bash, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[1:] == ["status", "--jobs"], done
    assert "_recbatch_completion" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nightly", "--source", "movielenz/100k"], 2, ["movielenz/100k", "files:DIR"]),
        (["nightly", "--source", "files:/nowhere/at/all"], 66, ["/nowhere/at/all"]),
        (["nightly", "--run-date", "23.4.1998"], 2, ["23.4.1998", "YYYY-MM-DD"]),
        (["nightly", "--set", "score.k"], 2, ["SECTION.KEY=VALUE"]),
        (["nightly", "--set", "score.kk=1"], 78, ["score.kk", "did you mean score.k?"]),
        (["nightly", "--k", "0"], 78, ["score.k", "greater than or equal to 1"]),
        (["nightly", "--config", "none.toml"], 66, ["none.toml", "recbatch config show"]),
        (["nightly", "--lake", "/proc/lake"], 73, ["/proc/lake"]),
        (["show", "x"], 66, ["no published run here", "recbatch nightly"]),
        (["sql", "select 1"], 66, ["no published run here"]),
        (["status"], 66, ["no published run here"]),
        (["verify"], 66, ["no published run here"]),
        (["report"], 66, ["no published run here"]),
        (["report", "../../etc"], 2, ["no run id"]),
        (["frobnicate"], 2, ["frobnicate"]),
        (["data", "import", "nothing.zip"], 66, ["nothing.zip"]),
    ],
)
def test_the_operators_fault_is_one_line_with_its_exit_code(cli, arguments, code, words):
    said = cli(*arguments, code=code).stderr
    assert "Traceback" not in said
    for word in words:
        assert word in said
    assert said.strip().splitlines()[-1].startswith(("recbatch: ", "Error: "))


def test_an_empty_lake_has_no_runs_and_says_how_to_start(cli):
    assert "recbatch nightly" in cli("runs").stdout
    assert json.loads(cli("runs", "--json").stdout) == []


def test_config_shows_what_would_be_used(cli):
    shown = cli("config", "show", "--set", "train.epochs=7").stdout
    assert re.search(r"^epochs = 7  # ", shown, re.MULTILINE)
    (cli.directory / "recbatch.toml").write_text(shown)
    assert json.loads(cli("config", "show", "--config", "recbatch.toml", "--json").stdout)["train"]["epochs"] == 7
    assert cli("config", "check", "--config", "recbatch.toml").stdout.startswith("sound")
    (cli.directory / "recbatch.toml").write_text("[train]\nepoch = 7\n")
    assert "did you mean train.epochs?" in cli("config", "check", "--config", "recbatch.toml", code=78).stderr


def test_flags_lie_over_environment_over_file(cli):
    (cli.directory / "recbatch.toml").write_text("[source]\nuri = 'files:/from/file'\n")
    assert "/from/file" in cli("nightly", "--config", "recbatch.toml", code=66).stderr
    environment = {"RECBATCH_SOURCE": "files:/from/environment", "RECBATCH_CONFIG": "recbatch.toml"}
    assert "/from/environment" in cli("nightly", env=environment, code=66).stderr
    assert "/from/flag" in cli("nightly", "--source", "files:/from/flag", env=environment, code=66).stderr


def test_show_prints_a_known_and_an_unknown_user(published):
    user = published.rows("select min(user_id) as user_id from users where status = 'hot'")[0]["user_id"]
    text = published("show", user, "--limit", "5").stdout
    assert f"user {user} (hot, " in text
    assert "2020-02-06.1" in text
    assert "because" in text
    told = json.loads(published("show", user, "--history", "3", "--json").stdout)
    latest = published.rows(f"select item_id from histories where user_id = '{user}' order by rank limit 3")
    assert [row["item_id"] for row in told["history"]] == [row["item_id"] for row in latest]
    assert latest
    assert all(row["title"] in text for row in told["history"])
    assert told["model_id"] in text
    assert f"from {told['source']}, finished" in text
    unknown = json.loads(published("show", "nobody; drop table users", "--json").stdout)
    assert (unknown["status"], unknown["history"]) == (None, [])
    assert {row["source"] for row in unknown["recommendations"]} == {"popular"}
    assert len(unknown["recommendations"]) == 20


def test_sql_answers_selects_in_four_shapes_and_refuses_everything_else(published):
    query = "select segment, rank, title from popular where segment = 'all' order by rank limit 2"
    assert len(json.loads(published("sql", query, "--json").stdout)) == 2
    lines = published("sql", query, "--csv").stdout.splitlines()
    assert lines[0] == '"segment","rank","title"'
    assert len(lines) == 3
    command = published.command("sql", query, "--parquet", "--lake", published.lake)
    told = subprocess.run(command, capture_output=True, check=True).stdout
    assert pq.read_table(io.BytesIO(told)).to_pylist() == published.rows(query)
    assert "exclude each other" in published("sql", query, "--csv", "--parquet", code=2).stderr
    assert "title" in published("sql", query).stdout
    assert "recommendations" in published("sql").stdout
    for statement in (
        "drop view users",
        "copy users to 'x.csv'",
        "select 1; select 2",
        "attach 'x.duckdb'",
        "select * from read_csv('/etc/passwd')",
    ):
        done = published("sql", statement, code=2)
        assert "Traceback" not in done.stderr


def test_status_verify_report_and_runs_agree_on_the_live_run(published):
    status = json.loads(published("status", "--json").stdout)
    assert status["healthy"] is True
    assert status["run_id"] == "2020-02-06.1"
    stale = published("status", "--max-age-days", "30", code=1)
    assert "more than 30" in stale.stdout
    assert json.loads(published("verify", "--json").stdout)["sound"] is True
    assert published("report").stdout.strip().endswith("runs/2020-02-06.1/report.html")
    assert json.loads(published("report", "--json").stdout)["run_id"] == "2020-02-06.1"
    assert [run["run_id"] for run in json.loads(published("runs", "--json").stdout)] == ["2020-02-06.1", "2020-02-01.1"]


@pytest.mark.parametrize("arguments", [["--help"], ["show", "nobody"], ["status"]])
def test_commands_that_only_read_never_load_tensorflow(published, arguments):
    environment = {"PYTHONPROFILEIMPORTTIME": "1"}
    began = time.monotonic()
    modules = {
        line.rsplit("|", 1)[-1].strip()
        for line in published(*arguments, env=environment, real=True).stderr.splitlines()
    }
    assert "click" in modules
    assert not modules & {"tensorflow", "scann", "tensorflow_recommenders", "tensorflow_datasets", "matplotlib"}
    assert time.monotonic() - began < 10


def test_report_history_has_a_line_per_live_run(published, tmp_path):
    rows = json.loads(published("report", "--history", "--json").stdout)
    assert [row["run_id"] for row in rows] == ["2020-02-01.1", "2020-02-06.1"]
    [judged] = published.rows(
        "select value from metrics where metric = 'ndcg' and k = 10 and segment = 'all' and source = 'model'"
    )
    assert (rows[1]["metric"], rows[1]["model"]) == ("ndcg@10", judged["value"])
    [kept] = published.rows(
        "select avg(overlap) as overlap, avg(rbo) as rbo from run_diff where rows_before > 0 and rows_after > 0"
    )
    assert (rows[0]["overlap"], rows[1]["overlap"], rows[1]["rbo"]) == (
        None,
        pytest.approx(kept["overlap"]),
        pytest.approx(kept["rbo"]),
    )
    assert "2020-02-06.1" in published("report", "--history").stdout
    page = (published.lake / "runs" / "2020-02-06.1" / "report.html").read_text()
    assert page.index("By segment") < page.index('id="past"') < page.index("2020-02-01.1</th>")
    assert "leave RUN out" in published("report", "2020-02-06.1", "--history", code=2).stderr
    assert "add --history" in published("report", "--plot", tmp_path / "x.svg", code=2).stderr
    published("report", "--history", "--plot", tmp_path / "trend.svg")
    assert (tmp_path / "trend.svg").read_text().rstrip().endswith("</svg>")


def test_a_night_tells_what_it_changed_in_the_lists_as_run_diff_does(published):
    changes = json.loads((published.lake / "runs" / "2020-02-06.1" / "manifest.json").read_text())["changes"]
    both = "rows_before > 0 and rows_after > 0"
    [twin] = published.rows(
        f"select avg(overlap) filter ({both}) as overlap, avg(rbo) filter ({both}) as rbo, count(*) as users,"
        f" count(*) filter ({both}) as compared, count(*) filter (replaced) as replaced,"
        f" count(*) filter (overlap = 1 and {both}) as unchanged, count(*) filter (rows_before = 0) as without_list_before"
        " from run_diff"
    )
    assert {name: pytest.approx(value) for name, value in twin.items()} == {name: changes[name] for name in twin}
    for way in ("entered", "dropped"):
        assert changes[way] == published.rows(
            f"select title, count(*) as users from (select unnest({way}) as title from run_diff where {both})"
            " group by title order by users desc, title limit 8"
        )
    page = (published.lake / "runs" / "2020-02-06.1" / "report.html").read_text()
    assert changes["entered"][0]["title"] in page[page.index('id="changes"') : page.index('id="coverage"')]
    first = json.loads((published.lake / "runs" / "2020-02-01.1" / "manifest.json").read_text())
    assert first["changes"] is None

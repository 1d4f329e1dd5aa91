"""The README says what is true: its queries run, its commands, views, settings and exit codes exist."""

import inspect
import re
from pathlib import Path

import duckdb

from recbatch import config, errors

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def queries():
    return [part.strip() for block in blocks("sql") for part in block.split(";") if part.strip()]


def test_every_query_runs(published):
    user = published.rows("select min(user_id) as user_id from users where status = 'hot'")[0]["user_id"]
    statements = queries()
    assert len(statements) >= 6
    with duckdb.connect(str(published.lake / "catalog.duckdb"), read_only=True) as con:
        for statement in statements:
            con.execute(statement.replace("'196'", f"'{user}'")).fetchall()


def test_the_python_of_the_readme_runs(published, monkeypatch):
    user = published.rows("select min(user_id) as user_id from users where status = 'hot'")[0]["user_id"]
    monkeypatch.chdir(published.lake.parent)
    for block in blocks("python"):
        names = {}
        exec(block.replace('"196"', f'"{user}"'), names)
        rows = names["rows"]
        assert (rows.num_rows if hasattr(rows, "num_rows") else len(rows)) > 50, block


def test_every_command_named_exists(cli):
    known = set(re.findall(r"^  ([a-z-]+) ", cli("--help").stdout, re.MULTILINE))
    named = set(re.findall(r"`recbatch ([a-z-]+)", README)) | set(
        re.findall(r"^\$ recbatch ([a-z-]+)", README, re.MULTILINE)
    )
    assert named
    assert named <= known, named - known


def test_every_setting_named_exists():
    sections = {
        name: field.annotation
        for name, field in config.Config.model_fields.items()
        if hasattr(field.annotation, "model_fields")
    }
    named = re.findall(r"`([a-z]+)\.([a-z_]+)`", README)
    settings = [(section, key) for section, key in named if section in sections]
    assert settings
    for section, key in settings:
        assert key in sections[section].model_fields, f"{section}.{key}"


def test_every_exit_code_of_the_tree_stands_in_the_runbook():
    table = README[README.index("| exit code |") :].split("\n\n", 1)[0]
    told = {int(code) for row in table.splitlines()[2:] for code in re.findall(r"\d+", row.split("|")[1])}
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.RecbatchError)]
    raised = {kind.exit_code for kind in kinds} - {errors.RemoteStoreDown.exit_code}
    assert raised | {0, 130, 143} == told


def test_every_view_and_macro_named_exists(published):
    table = README[README.index("| view |") :].split("Macros:", 1)[0]
    named = {
        name for row in table.splitlines()[2:] if "|" in row for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])
    }
    with duckdb.connect(str(published.lake / "catalog.duckdb"), read_only=True) as con:
        views = {name for (name,) in con.execute("select view_name from duckdb_views() where not internal").fetchall()}
        macros = {
            name
            for (name,) in con.execute("select function_name from duckdb_functions() where not internal").fetchall()
        }
    assert named <= views
    told = set(re.findall(r"`([a-z_]+)\(", README[README.index("Macros:") :].split(".", 1)[0]))
    assert told
    assert told <= macros

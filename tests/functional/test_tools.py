"""What needs more than pip: run by `make test-tools`."""

import html
import json
import re
import subprocess
import sys

import duckdb
import pytest

from .test_readme import blocks, queries

pytestmark = pytest.mark.tools

EVERY_ANSWER = """
import json, sys
import duckdb

catalog, queries = sys.argv[1], json.loads(sys.stdin.read())
con = duckdb.connect()
con.execute("set enable_progress_bar = false")
con.execute(f"attach '{catalog}' as c (read_only)")
con.execute("use c")
names = "select view_name from duckdb_views() where not internal and database_name = 'c' order by 1"
queries += [f"from {name} order by all" for (name,) in con.execute(names).fetchall()]

def rounded(value):  # means over threads differ in the last bits
    if isinstance(value, (list, tuple)):
        return [rounded(each) for each in value]
    return round(value, 9) if isinstance(value, float) else value

print(json.dumps([[query, duckdb.__version__, repr(rounded(con.execute(query).fetchall()))] for query in queries]))
"""


@pytest.mark.parametrize("version", ["1.4.2", "1.4.5", "1.5.6", "2.0.0"])
def test_older_duckdb_answers_every_view_and_query_of_the_readme_alike(published, tmp_path, version):
    packages = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", packages, f"duckdb=={version}"]
    subprocess.run(pip, check=True, timeout=300)
    user = published.rows("select min(user_id) as user_id from users where status = 'hot'")[0]["user_id"]
    questions = json.dumps([query.replace("'196'", f"'{user}'") for query in queries()])

    def answers(**environment):
        command = [sys.executable, "-c", EVERY_ANSWER, published.lake / "catalog.duckdb"]
        done = subprocess.run(
            command, input=questions, capture_output=True, text=True, check=True, env=environment, timeout=120
        )
        return json.loads(done.stdout)

    theirs, ours = answers(PYTHONPATH=str(packages)), answers()
    assert {said for _, said, _ in theirs} == {version}
    assert {said for _, said, _ in ours} == {duckdb.__version__}
    assert len(ours) >= 25
    assert [(query, rows) for query, _, rows in theirs] == [(query, rows) for query, _, rows in ours]


def test_the_report_opens_in_a_browser_without_a_network_or_a_script_error(published, tmp_path):
    report = published.lake / "runs" / "2020-02-06.1" / "report.html"
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=2000", "--dump-dom", report.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "Run 2020-02-06.1" in done.stdout
    assert done.stdout.count("<img") >= 4
    assert "CONSOLE" not in done.stderr


@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_never_scrolls_sideways_and_every_picture_says_what_it_shows(published, tmp_path, width):
    report = published.lake / "runs" / "2020-02-06.1" / "report.html"
    (tmp_path / "frame.html").write_text(
        f"""<iframe id="f" width="{width}" height="800" style="border:0" src="{report.as_uri()}"></iframe><p id="said"></p>
        <script>document.getElementById("f").onload = (event) => {{
            const page = event.target.contentDocument;
            const silent = [...page.images].filter((image) => !image.alt).length;
            document.getElementById("said").textContent =
                `width ${{page.documentElement.scrollWidth}} images ${{page.images.length}} silent ${{silent}}`;
        }};</script>"""
    )
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--allow-file-access-from-files",
        "--disable-web-security", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,900",
        "--virtual-time-budget=3000", "--dump-dom", (tmp_path / "frame.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    scrolled, images, silent = map(int, re.search(r"width (\d+) images (\d+) silent (\d+)", done.stdout).groups())
    assert scrolled <= width
    assert images >= 4
    assert silent == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_barrier_in_the_report(published, tmp_path, width):
    subprocess.run(["npm", "install", "--silent", "axe-core@4"], cwd=tmp_path, check=True, timeout=300)
    axe = (tmp_path / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
    report = (published.lake / "runs" / "2020-02-06.1" / "report.html").read_text("utf-8")
    open_to_scripts = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report)
    ask = """axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}).then((found) => {
        const barriers = found.violations.map((each) => [each.id, each.nodes.map((node) => node.html.slice(0, 80))]);
        document.body.textContent = "BARRIERS" + JSON.stringify([found.passes.length, barriers]) + "END";
    });"""
    (tmp_path / "page.html").write_text(f"{open_to_scripts}<script>{axe}</script><script>{ask}</script>", "utf-8")
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--window-size={width},900",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--dump-dom",
        (tmp_path / "page.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    passes, barriers = json.loads(html.unescape(re.search(r"BARRIERS(.*?)END", done.stdout, re.DOTALL)[1]))
    assert passes >= 20
    assert barriers == []


def test_the_snippet_for_node_answers_like_duckdb(published, tmp_path):
    user = published.rows("select min(user_id) as user_id from users where status = 'hot'")[0]["user_id"]
    [snippet] = blocks("js")
    (tmp_path / "lake").symlink_to(published.lake)
    (tmp_path / "snippet.mjs").write_text(snippet.replace("'196'", f"'{user}'"))
    subprocess.run(["npm", "install", "--silent", "@duckdb/node-api"], cwd=tmp_path, check=True, timeout=300)
    told = subprocess.run(["node", "snippet.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    rows = json.loads(told.stdout)
    expected = published.rows(f"from recs_for('{user}')")
    assert [(row["rank"], row["item_id"]) for row in rows] == [(row["rank"], row["item_id"]) for row in expected]


def test_dbt_takes_the_sources_and_knows_how_fresh_they_are(published, tmp_path):
    published("init", tmp_path / "home")
    home = tmp_path / "home" / "dbt"
    catalog = json.dumps(str(published.lake / "catalog.duckdb"))
    (home / "dbt_project.yml").write_text("name: trial\nversion: '1.0.0'\nprofile: trial\n")
    (home / "profiles.yml").write_text(
        "trial:\n  target: dev\n  outputs:\n    dev:\n      type: duckdb\n      path: ':memory:'\n"
        f"      attach: [{{path: {catalog}, alias: recbatch, read_only: true}}]\n"
    )
    (home / "models" / "hits.sql").write_text(
        "select item_id, count(*) as users from {{ source('recbatch', 'recommendations') }} group by item_id"
    )
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    pip = [tmp_path / "venv" / "bin" / "pip", "install", "-q", "dbt-core~=1.10.0", "dbt-duckdb~=1.9.0"]
    subprocess.run(pip, check=True, timeout=600)
    for words in (["source", "freshness"], ["build"]):
        done = subprocess.run(
            [tmp_path / "venv" / "bin" / "dbt", *words],
            cwd=home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert re.search(r"PASS.*recbatch.runs|PASS=\d+ WARN=0 ERROR=0", done.stdout), done.stdout


READ_EVERYTHING = """
import duckdb, sys
with duckdb.connect() as con:
    con.execute(f"attach '{sys.argv[1]}' as lake (read_only)")
    con.execute("use lake")
    con.execute("set enable_progress_bar = false")
    rows = 0
    for (view,) in con.execute("select view_name from duckdb_views() where not internal").fetchall():
        rows += len(con.execute(f'select * from "{view}" limit 1000').fetchall())
    for call in ("recs_for('a stranger')", "similar_to('1')", "user_metrics(10)", "segment_metrics(10)",
                 "diff_runs('2020-02-01.1', '2020-02-06.1')"):
        rows += len(con.execute(f"from {call}").fetchall())
    print(duckdb.__version__, rows)
"""


@pytest.mark.parametrize("release", ["1.4.2", "1.4.5", "1.5.6", "2.0.1"])
def test_the_catalog_answers_in_every_release_of_duckdb(published, tmp_path, release):
    """All views and macros; 1.4.0 and 1.4.1 lose the CTEs of a catalog that 2.0 wrote."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        tmp_path / "old",
        f"duckdb=={release}",
    ]
    subprocess.run(pip, check=True, timeout=300)
    script = [sys.executable, "-c", READ_EVERYTHING, published.lake / "catalog.duckdb"]
    old, ours = (  # after the progress bar of a slow machine
        subprocess.run(script, env=more, capture_output=True, text=True, timeout=60, check=True).stdout.split()[-2:]
        for more in ({"PYTHONPATH": str(tmp_path / "old")}, {})
    )
    assert old[0] == release
    assert old[1] == ours[1]
    assert int(ours[1]) > 1_000

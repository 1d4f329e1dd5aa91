"""A night with every rule on, through the command: its lists, their prices, and why a title is not among them."""

import json
import shutil

import pytest

from tests.functional.conftest import Cli

NIGHT, K = "2020-02-06", 20


@pytest.fixture(scope="module")
def ruled(tmp_path_factory, _base):
    """(cli, titles by what was done to them): one night under all rules, for tests that only read."""
    root = tmp_path_factory.mktemp("ruled")
    (root / "elsewhere").mkdir()
    cli = Cli(root / "elsewhere", root / "lake")
    shutil.copytree(_base, cli.lake)
    best = [row["item_id"] for row in cli.rows("select item_id from recs_for('0000001') order by rank limit 40")]
    (cli.directory / "deny.csv").write_text(
        f"user_id,item_id,until\n0000001,{best[0]},2020-03-01\n0000001,{best[1]},{NIGHT}\nghost,1,\n"
    )
    (cli.directory / "pins.csv").write_text(f"item_id,segment,rank\n{best[30]},gender=F,2\n{best[31]},,1\nnone,,3\n")
    (cli.directory / "recbatch.toml").write_text(
        f"""
        [score]
        k = {K}
        [rules]
        seen_window_days = 20
        deny = "deny.csv"
        pins = "pins.csv"
        eligible = "item_id <> '{best[2]}' and year >= 1960"
        at_most = {{genres = 11}}
        boosts = {{"year > 1990" = 1.5}}
        """
    )
    done = cli.night(NIGHT, "--config", "recbatch.toml")
    return cli, done, {"denied": best[0], "expired": best[1], "ineligible": best[2], "women": best[30], "all": best[31]}


def why(cli, user, item, *arguments, code=0):
    done = cli("why-not", user, item, *arguments, code=code)
    return done.stdout if code == 0 else done.stderr


def reason(cli, user, item):
    return json.loads(why(cli, user, item, "--json"))


def test_the_night_obeys_all_of_them(ruled):
    cli, done, titles = ruled
    assert done["status"] == "published"
    everything = "(from recommendations union all from recommendations_buffer)"
    [row] = cli.rows(f"""
        select
            count(*) filter (user_id = '0000001' and item_id = '{titles["denied"]}') as denied,
            count(*) filter (item_id = '{titles["ineligible"]}') as ineligible,
            count(*) filter (source = 'pinned' and rank > 2) as late_pins,
            count(distinct user_id) filter (source = 'pinned' and item_id = '{titles["women"]}') as women
        from {everything}
    """)
    assert (row["denied"], row["ineligible"], row["late_pins"]) == (0, 0, 0)
    assert 0 < row["women"] <= cli.rows("select count(*) as n from users where gender = 'F'")[0]["n"]
    most = cli.rows(f"""
        select max(n) as n from (
            select count(*) as n from (
                select r.user_id, unnest(i.genres) as genre from {everything} as r inner join items as i using (item_id)
            ) group by user_id, genre
        )
    """)
    assert most == [{"n": 11}]
    short = cli.rows("select shortfall_reason, recommended from users where recommended < 20")
    assert {row["shortfall_reason"] for row in short} <= {"capped"}
    for table in ("popular", "similar_items"):
        name = "item_id" if table == "popular" else "similar_item_id"
        assert cli.rows(f"select * from {table} where {name} = '{titles['ineligible']}'") == []
    checks = cli.rows("select * from audits where \"check\" like 'rules_%' or \"check\" = 'recommendations_not_seen'")
    assert len(checks) == 5
    assert {(row["passed"], row["observed"]) for row in checks} == {(True, "0")}


def test_every_rule_has_its_price_in_table_manifest_and_report(ruled):
    cli, done, _ = ruled
    names = ["at_most.genres", "boosts.year > 1990", "deny", "eligible", "pins", "seen_window_days"]
    rows = cli.rows("select * from rules order by rule")
    assert [row["rule"] for row in rows] == [row["rule"] for row in done["rules"]] == names
    for row in rows:
        assert row["users"] == done["users"]
        assert row["ci_low"] <= row["effect"] <= row["ci_high"]
        assert row["judged_users"] > 30
    by_rule = {row["rule"]: row for row in rows}
    assert by_rule["deny"]["rows_removed"] <= 1, "the expired row and the stranger cost nothing"
    assert by_rule["eligible"]["rows_removed"] > 0
    assert by_rule["seen_window_days"]["rows_removed"] > 100
    page = next((cli.lake / "runs").glob(f"{NIGHT}.*/report.html")).read_text()
    assert "Price of each rule" in page
    assert all(name.replace(">", "&gt;") in page for name in names)


def test_a_changed_file_means_that_the_date_differs(ruled):
    cli, _, _ = ruled
    deny = cli.directory / "deny.csv"
    text = deny.read_text()
    assert cli.night(NIGHT, "--config", "recbatch.toml")["note"] == "already published, nothing to do"
    deny.write_text(text + "0000002,1,\n")
    try:
        assert "a file of [rules] changed since" in cli.night(NIGHT, "--config", "recbatch.toml")["note"]
        said = why(cli, "0000001", "1", code=65)
    finally:
        deny.write_text(text)
    assert said == (
        f"recbatch: deny.csv: not the file of rules.deny that run {NIGHT}.1 was made with; put that back, or try again"
        " after the next night\n"
    )


def test_why_not_names_the_rule(ruled):
    cli, _, titles = ruled
    assert "denied until 2020-03-01 by rules.deny, deny.csv" in why(cli, "0000001", titles["denied"])
    assert "does not meet rules.eligible, item_id <> " in why(cli, "0000001", titles["ineligible"])
    assert reason(cli, "0000001", titles["all"])["facts"]["source"] == "pinned"
    [seen] = cli.rows("select user_id, item_id, occurred_at from histories where rank = 1 and user_id = '0000003'")
    answer = reason(cli, "0000003", seen["item_id"])
    assert (answer["reason"], answer["facts"]["seen_at"]) == ("seen", seen["occurred_at"].replace(" ", "T"))
    assert "within rules.seen_window_days = 20" in answer["sentence"]


def test_why_not_names_the_rank_or_the_titles_that_took_the_places(ruled):
    cli, _, _ = ruled
    # Whose list is full of one genre soonest: for them others of it had to give way.
    [most] = cli.rows(f"""
        select user_id, genre from (
            select r.user_id, r.rank, unnest(i.genres) as genre
            from recommendations as r inner join items as i using (item_id)
        ) group by user_id, genre having count(*) = 11 and max(rank) < {K} order by max(rank), user_id limit 1
    """)
    absent = f"""
        from items where year >= 1960 and item_id not in
        (select item_id from recommendations where user_id = '{most["user_id"]}')
    """
    alike = cli.rows(f"select item_id {absent} and list_contains(genres, '{most['genre']}') order by item_id")
    others = cli.rows(f"select item_id {absent} and not list_contains(genres, '{most['genre']}') order by item_id")
    answers = [reason(cli, most["user_id"], row["item_id"]) for row in (*alike[:4], *others[:4])]
    [last] = cli.rows(f"select score from recommendations where user_id = '{most['user_id']}' and rank = {K}")
    below = [answer["facts"] for answer in answers if answer["reason"] == "ranked_below"]
    assert below
    for facts in below:
        assert K < facts["rank"] <= facts["of"] <= 125
        assert facts["last_score"] == pytest.approx(last["score"])
    capped = [answer for answer in answers if answer["reason"] == "capped"]
    assert capped
    for answer in capped:
        assert answer["facts"]["value"] == f"genres={most['genre']}"
        assert answer["facts"]["at_most"] == len(answer["facts"]["places_taken_by"]) == 11
        assert f"rules.at_most allows 11 of genres={most['genre']}; taken by " in answer["sentence"]


def test_why_not_knows_strangers_withdrawn_titles_and_forgotten_users(ruled, tmp_path):
    there, _, titles = ruled
    shutil.copytree(there.lake, tmp_path / "lake")
    cli = Cli(there.directory, tmp_path / "lake")
    assert reason(cli, "nobody", "1")["reason"] == "unknown_user"
    assert "did you mean" in why(cli, "0000001", "no such title", code=66)
    assert "`recbatch runs` lists them" in why(cli, "0000001", "1", "--run", "2019-01-01.1", code=66)
    cli("withdraw", titles["all"])
    assert reason(cli, "0000001", titles["all"])["reason"] == "withdrawn"
    cli("forget", "0000001")
    assert reason(cli, "0000001", "1")["reason"] == "forgotten"


def test_a_saved_model_that_cannot_obey_is_refused(ruled, tmp_path):
    said = ruled[0]("export", "--to", tmp_path / "serving", code=2).stderr
    assert "which a SavedModel cannot obey; serve its published lists" in said


def test_conditions_are_parsed_without_a_night(cli):
    said = cli("config", "check", "--set", "rules.eligible=exists (select 1)", code=78).stderr
    assert said.startswith("recbatch: rules.eligible: 'exists (select 1)' has a subquery; only the columns of items")
    assert "sound" in cli("config", "check", "--set", "rules.eligible=anything > 3").stdout


@pytest.mark.parametrize(
    ("setting", "content", "code", "said"),
    [
        ("rules.deny=x.csv", None, 66, "x.csv: no such file; correct rules.deny"),
        ("rules.deny=x.csv", "user_id,item_id\n0000001,\n", 65, "x.csv row 1: item_id is empty; fill it in"),
        ("rules.deny=x.csv", "user_id,item_id\n0000001,1,2\n", 65, "x.csv row 1: expected 2 values, got 3"),
        ("rules.pins=x.csv", "item_id,segment\n1,age=7\n", 65, "x.csv row 1: segment 'age=7': no user feature 'age'"),
        ("rules.pins=x.parquet", "item_id\n1\n", 65, "x.parquet: not a readable Parquet file"),
        ("rules.pins=x.json", None, 78, "expected the path of a .csv or .parquet file"),
        ("rules.eligible=yeer > 1990", None, 78, "rules.eligible: 'yeer > 1990': items have no column 'yeer'; did you"),
        ("rules.eligible=year > 9999", None, 65, "rules.eligible: none of tonight's 122 titles meets 'year > 9999'"),
        ("rules.at_most={gender = 1}", None, 78, "rules.at_most: items have no column 'gender'; they have: item_id"),
        ('rules.boosts={"year" = 2}', None, 78, "'year' is "),
    ],
)
def test_a_rule_that_cannot_be_obeyed_stops_the_night_with_one_line(cli, setting, content, code, said):
    if content is not None:
        (cli.directory / setting.partition("=")[2]).write_text(content)
    last = cli.night("2020-02-01", "--set", setting, code=code).splitlines()[-1]
    assert last.startswith("recbatch: ")
    assert said in last
    assert not list(cli.lake.glob("runs/*"))

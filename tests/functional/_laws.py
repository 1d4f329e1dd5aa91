"""What must hold in a lake, seen from outside."""

import hashlib

import duckdb


def state(lake):
    """Everything a reader can see, as bytes."""
    files = [
        lake / "catalog.duckdb",
        lake / "latest.json",
        *sorted(p for p in (lake / "runs").rglob("*") if p.is_file()),
    ]
    return {str(path.relative_to(lake)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def law_1(lake):
    """Every known user has k rows or a stated reason; ranks without gaps; titles known; scores in order."""
    with duckdb.connect(str(lake / "catalog.duckdb"), read_only=True) as con:
        wrong_counts = """
            select u.user_id from users u left join (select user_id, count(*) n from recommendations group by all) r using (user_id)
            where coalesce(n, 0) <> least(100, (select count(*) from items)) and u.shortfall_reason is null
               or coalesce(n, 0) <> u.recommended or (coalesce(n, 0) < 100) <> (u.shortfall_reason is not null)"""
        assert con.execute(wrong_counts).fetchall() == []
        gaps = "select user_id from recommendations group by user_id having min(rank) <> 1 or max(rank) <> count(*) or count(distinct item_id) <> count(*)"
        assert con.execute(gaps).fetchall() == []
        unresolved = "select * from recommendations r anti join items i on i.item_id = r.item_id and i.title = r.title"
        assert con.execute(unresolved).fetchall() == []
        disorder = """
            select * from (select *, lag(score) over w as above, lag(item_id) over w as item_above
                from recommendations window w as (partition by user_id, source order by rank))
            where not isfinite(score) or score > above
               or score = above and (length(item_above), item_above) > (length(item_id), item_id)"""
        assert con.execute(disorder).fetchall() == []

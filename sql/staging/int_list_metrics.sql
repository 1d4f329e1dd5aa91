-- One row per user with a list: what its first k titles are like beside the catalogue and the user's own history.
-- novelty: mean self-information in bits, Castells et al. 2011
-- diversity: 1 - mean cosine of the genres of two titles, after Ziegler et al. 2005
-- calibration: Kullback-Leibler divergence of genres from the history's, Steck 2018, alpha 0.01
-- popularity_lift: Abdollahpouri et al. 2019
with lists as (
    select
        user_id,
        item_id
    from {{ ref('stg_recommendations') }}
    where rank <= k
),

histories as (
    select * from {{ ref('stg_histories') }}
),

items as (
    select
        item_id,
        list_distinct(genres) as genres,
        interactions,
        -log2((interactions + 1) / (sum(interactions) over () + count(*) over ())) as information
    from {{ ref('stg_items') }}
),

genres as (
    select
        item_id,
        unnest(genres) as genre,
        1 / len(genres) as share
    from items
),

told as (
    select
        lists.user_id,
        count(*) as titles,
        avg(items.information) as novelty,
        avg(items.interactions) as popularity
    from lists
    inner join items on lists.item_id = items.item_id
    group by lists.user_id
),

before as (
    select
        histories.user_id,
        avg(items.interactions) as popularity
    from histories
    inner join items on histories.item_id = items.item_id
    group by histories.user_id
),

listed as (
    select
        lists.user_id,
        genres.genre,
        sum(genres.share) as share,
        sum(sqrt(genres.share)) as length
    from lists
    inner join genres on lists.item_id = genres.item_id
    group by lists.user_id, genres.genre
),

spread as (
    select
        user_id,
        sum(share) as titles,
        1 - (sum(length * length) - sum(share)) / nullif(sum(share) * (sum(share) - 1), 0) as diversity
    from listed
    group by user_id
),

lived as (
    select
        histories.user_id,
        genres.genre,
        sum(genres.share) as share
    from histories
    inner join genres on histories.item_id = genres.item_id
    group by histories.user_id, genres.genre
),

wanted as (
    select
        *,
        share / sum(share) over (partition by user_id) as p
    from lived
),

divergence as (
    select
        wanted.user_id,
        sum(
            wanted.p * ln(wanted.p / (0.99 * coalesce(listed.share, 0) / spread.titles + 0.01 * wanted.p))
        ) as calibration
    from wanted
    inner join spread on wanted.user_id = spread.user_id
    left join listed on wanted.user_id = listed.user_id and wanted.genre = listed.genre
    group by wanted.user_id
),

final as (
    select
        told.user_id,
        told.titles,
        told.novelty,
        case when spread.titles > 1.5 then spread.diversity end as diversity,
        divergence.calibration,
        told.popularity,
        told.popularity / nullif(before.popularity, 0) - 1 as popularity_lift
    from told
    left join spread on told.user_id = spread.user_id
    left join divergence on told.user_id = divergence.user_id
    left join before on told.user_id = before.user_id
)

select * from final

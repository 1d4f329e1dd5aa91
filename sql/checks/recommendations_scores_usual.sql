-- One row where the model's first ten scores are spread otherwise than in the parent run: population stability index.
-- severity: warn
-- expected: a population stability index of at most 0.25 against the parent run (audit.max_score_shift)
-- needs: scores
with parent as (
    select score_edges as edges, score_shares as shares from nights
    where age = 1
),

scores as (
    select len(list_filter(parent.edges, lambda edge: edge < recommendations.score)) + 1 as bin
    from recommendations
    cross join parent
    where recommendations.source = 'model' and recommendations.rank <= 10
),

counts as (
    select
        numbers.bin,
        count(scores.bin) as amount
    from range(1, 11) as numbers (bin)
    left join scores on numbers.bin = scores.bin
    group by numbers.bin
),

whole as (
    select greatest(sum(amount), 1) as amount from counts
),

-- A bin is never empty: half a score stands in for none, so that the logarithm exists.
shares as (
    select
        greatest(counts.amount, 0.5) / whole.amount as share,
        greatest(parent.shares[counts.bin], 0.5 / whole.amount) as share_before
    from counts
    cross join whole
    cross join parent
),

shifts as (
    select sum((share - share_before) * ln(share / share_before)) as shift from shares
),

final as (
    select
        format('population stability index {:.3f}', shift) as observed,
        format('at most {:.3f} (audit.max_score_shift)', max_score_shift) as expected
    from shifts
    cross join audit_settings
    where shift > max_score_shift
)

select * from final

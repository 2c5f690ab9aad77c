-- A round recomputed to the last minor unit from exported Parquet, in DuckDB's SQL and nothing else.
--
--   moiety export folk exported --parquet
--   duckdb -c "SET VARIABLE folder = 'exported'; SET VARIABLE pool = 'folk'; SET VARIABLE round = 1" \
--          -f docs/examples/round.sql
--
-- It follows docs/distribution.md and shows, for each collective, the two amounts that follow from the events and the
-- two that the statement has. All weights are HUGEINT, which DuckDB never rounds and never lets overflow unnoticed:
-- the script stops where the policy weights of a round pass 8 * 10^36, and where the policy has a floor or a cap.

CREATE OR REPLACE TEMP MACRO exported(name) AS TABLE
    FROM read_parquet(getvariable('folder') || '/' || name || '/pool=' || getvariable('pool') || '/*.parquet');

-- 1. What the round is calculated from: its interval of the log, its policy, what the round before left over.

CREATE OR REPLACE TEMP TABLE this AS
    FROM exported('rounds') WHERE number = getvariable('round');

CREATE OR REPLACE TEMP TABLE policy AS
    FROM exported('policies') WHERE version = (SELECT policy_version FROM this);

SELECT error('round.sql knows no floor and no cap') FROM policy WHERE floor_minor > 0 OR cap_minor IS NOT NULL;

CREATE OR REPLACE TEMP TABLE before AS
    FROM exported('rounds') WHERE number = (SELECT previous FROM this);

-- 2. Usage: accepted events add, retracted ones take away, each in the round that its leaf falls in.

CREATE OR REPLACE TEMP TABLE usage AS
    WITH movements AS (
        SELECT 1 AS sign, leaf_index AS at_leaf, events.*
        FROM exported('events') AS events
        WHERE accepted
        UNION ALL
        SELECT -1, retractions.leaf_index, events.*
        FROM exported('retractions') AS retractions
        JOIN exported('events') AS events
            ON events.leaf_index = retractions.batch_leaf AND events.position = retractions.position
    )
    SELECT
        sign * units AS units,
        share_sum_nano,
        shares,
        (CASE mode WHEN 'AI_ONLY' THEN ai_only_ppm ELSE human_ai_ppm END)::HUGEINT AS mode_ppm,
        confidence_ppm::HUGEINT AS confidence_ppm
    FROM movements
    JOIN exported('methods') AS methods
        ON methods.method = movements.method AND methods.version = movements.method_version
    CROSS JOIN this
    CROSS JOIN policy
    WHERE at_leaf >= start_leaf AND at_leaf < end_leaf;

-- 3. Weights: A of each collective, and C of nobody, less what was left over.

CREATE OR REPLACE TEMP TABLE weights AS
    WITH shares AS (
        SELECT units, unnest(shares) AS share, mode_ppm, confidence_ppm FROM usage
    ),
    earned AS (
        SELECT share.collective AS collective, sum((units * share.share_nano)::HUGEINT * mode_ppm * confidence_ppm) AS weight
        FROM shares
        GROUP BY ALL
    ),
    owed AS (
        SELECT collective, deficit_after::HUGEINT AS deficit
        FROM exported('allocations')
        WHERE round = (SELECT previous FROM this)
    )
    SELECT
        row_number() OVER (ORDER BY registry.collective) AS place,
        registry.collective AS collective,
        registry.members AS members,
        registry.equity_ppm AS equity_ppm,
        greatest(0, coalesce(weight, 0) - coalesce(deficit, 0))::HUGEINT AS weight
    FROM exported('registry') AS registry
    LEFT JOIN earned USING (collective)
    LEFT JOIN owed USING (collective)
    WHERE registry.round = getvariable('round');

CREATE OR REPLACE TEMP TABLE unattributed AS
    SELECT greatest(0, coalesce(sum(
        mode_ppm * (
            (units * (1_000_000_000 - share_sum_nano))::HUGEINT * 1_000_000
            + (units * share_sum_nano)::HUGEINT * (1_000_000 - confidence_ppm)
        )
    ), 0) - coalesce((SELECT deficit_unattributed FROM before), 0)::HUGEINT)::HUGEINT AS weight
    FROM usage;

-- 4. Division over the rows (pot_of, pot, place, claim) of a table. Under CARRIED a pot is in billionths of a minor unit,
--    and parts are rounded down to one. Under PLACED it is in minor units, by largest remainder: whole parts first, then
--    one unit each by the largest fractional part, ties to the lower place. pot * claim would pass 128 bits, so it is
--    divided as on paper: a digit of the pot at a time.

CREATE OR REPLACE TEMP MACRO divided(claims) AS TABLE
    WITH RECURSIVE division AS (
        SELECT
            pot_of, pot, place, claim,
            sum(claim) OVER (PARTITION BY pot_of)::HUGEINT AS whole,
            lpad(pot::VARCHAR, 28, '0') AS digits,
            0::HUGEINT AS amount, 0::HUGEINT AS remainder
        FROM query_table(claims)
        UNION ALL
        SELECT
            pot_of, pot, place, claim, whole, digits[2:],
            amount * 10 + (remainder * 10 + digits[1]::HUGEINT * claim) // whole,
            (remainder * 10 + digits[1]::HUGEINT * claim) % whole
        FROM division
        WHERE digits <> '' AND whole > 0
    ),
    quotas AS (
        SELECT
            *,
            pot - sum(amount) OVER (PARTITION BY pot_of) AS units_left,
            row_number() OVER (PARTITION BY pot_of ORDER BY remainder DESC, place) AS turn
        FROM division
        WHERE digits = ''
    )
    SELECT
        pot_of, place,
        (amount + CASE WHEN rounding = 'PLACED' AND turn <= units_left THEN 1 ELSE 0 END)::HUGEINT AS amount
    FROM quotas CROSS JOIN policy;

-- 5. Pots: the fee off the balance of `revenue`, the commons' standing share, and the rest between A and C.
--    What A does not get of it is the commons'.

CREATE OR REPLACE TEMP TABLE pots AS
    WITH balance AS (
        SELECT coalesce(sum(
            CASE WHEN to_account = 'revenue' THEN amount_minor WHEN from_account = 'revenue' THEN -amount_minor END
        ), 0)::HUGEINT AS pot
        FROM exported('transfers')
        WHERE leaf_index < (SELECT end_leaf FROM this)
    ),
    used AS (
        SELECT (SELECT sum(weight) FROM weights)::HUGEINT AS claimed, weight AS unclaimed FROM unattributed
    ),
    net AS (
        SELECT
            *,
            CASE rounding WHEN 'CARRIED' THEN 1_000_000_000 ELSE 1 END::HUGEINT AS unit,
            CASE WHEN claimed + unclaimed = 0 THEN 0
            ELSE pot - least(pot * fee_ppm // 1_000_000, coalesce(fee_cap_minor, pot)) END * unit AS net
        FROM balance CROSS JOIN used CROSS JOIN policy
    )
    SELECT *, net * commons_ppm // 1_000_000 AS standing FROM net;

CREATE OR REPLACE TEMP TABLE two_claims AS
    SELECT
        'net' AS pot_of, net - standing AS pot, 1 AS place,
        CASE unattributed WHEN 'COMMONS' THEN claimed ELSE 1 END AS claim
    FROM pots
    UNION ALL
    SELECT 'net', net - standing, 2, CASE unattributed WHEN 'COMMONS' THEN unclaimed ELSE 0 END
    FROM pots;

CREATE OR REPLACE TEMP TABLE two_pots AS
    FROM divided('two_claims');

-- 6. Amounts: the attributed pot by tempered weight, the commons by the policy's rule.

CREATE OR REPLACE TEMP MACRO whole_root(n) AS (
    -- A floating-point root is off by far less than half its own root, so one step of Newton's method on whole numbers
    -- comes to the root or one above it.
    WITH guess AS (SELECT greatest(sqrt(n::DOUBLE)::HUGEINT, 1) AS first),
    newton AS (SELECT (first + n // first) // 2 AS second FROM guess)
    SELECT second - CASE WHEN second * second > n THEN 1 ELSE 0 END FROM newton
);

CREATE OR REPLACE TEMP TABLE all_claims AS
    SELECT
        'attributed' AS pot_of, (SELECT amount FROM two_pots WHERE place = 1)::HUGEINT AS pot, place,
        CASE tempering WHEN 'SQRT' THEN whole_root(weight) WHEN 'EQUAL' THEN least(weight, 1) ELSE weight END AS claim
    FROM weights CROSS JOIN policy
    UNION ALL
    SELECT
        'commons', (SELECT net FROM pots) - (SELECT amount FROM two_pots WHERE place = 1), place,
        CASE commons_rule
            WHEN 'PER_CAPITA' THEN members::HUGEINT
            WHEN 'EQUITY' THEN members::HUGEINT * equity_ppm
            WHEN 'FUND' THEN 0
            ELSE 1 END
    FROM weights CROSS JOIN policy;

-- 7. Whole units of these and of what was carried, beside what was logged.

WITH parts AS (
    PIVOT (FROM divided('all_claims')) ON pot_of IN ('attributed', 'commons') USING sum(amount) GROUP BY place
),
carried AS (
    SELECT collective, attributed_after_nano AS attributed_before, commons_after_nano AS commons_before
    FROM exported('allocations')
    WHERE round = (SELECT previous FROM this)
),
amounts AS (
    SELECT
        place,
        CASE rounding WHEN 'CARRIED' THEN (coalesce(attributed, 0) + coalesce(attributed_before, 0)) // 1_000_000_000
        ELSE coalesce(attributed, 0) END AS attributed,
        CASE rounding WHEN 'CARRIED' THEN (coalesce(commons, 0) + coalesce(commons_before, 0)) // 1_000_000_000
        ELSE coalesce(commons, 0) END AS commons
    FROM weights
    CROSS JOIN policy
    LEFT JOIN parts USING (place)
    LEFT JOIN carried USING (collective)
)
SELECT
    collective,
    attributed::BIGINT AS attributed_minor,
    commons::BIGINT AS commons_minor,
    logged.attributed_minor AS attributed_logged,
    logged.commons_minor AS commons_logged
FROM weights
JOIN amounts USING (place)
JOIN exported('allocations') AS logged USING (collective)
WHERE logged.round = getvariable('round')
ORDER BY collective;

-- Asks for what the micro-agent needs, not for every detail of 017: an older dry_run_log keeps its columns,
-- and is fine as long as the agent's INSERT of twelve columns fits.

-- The table exists.
SELECT pg_catalog.to_regclass('dry_run_log') IS NOT NULL;

-- It has the twelve columns of the INSERT, texts ('S') as text and flags ('B') as booleans. An older table
-- may hold the two ids as uuid; it then takes nothing but uuids, and changing that isn't a matter for 017.
SELECT count(*) = 12
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = pg_catalog.to_regclass('dry_run_log')
    AND (
        t.typcategory = 'S' AND a.attname IN (
            'tenant_id', 'lead_id', 'lead_nome', 'lead_telefone', 'lead_email', 'canal_decidido',
            'motivo_decisao', 'template_selecionado', 'razao_bloqueio', 'ambiente'
        )
        OR t.typcategory = 'B' AND a.attname IN ('disparo_seria_executado', 'feature_flag_enabled')
        OR t.typname = 'uuid' AND a.attname IN ('tenant_id', 'lead_id')
    );

-- What the agent may not know can be NULL.
SELECT count(*) = 7
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = pg_catalog.to_regclass('dry_run_log')
    AND a.attname IN (
        'lead_id', 'lead_nome', 'lead_telefone', 'lead_email', 'template_selecionado', 'razao_bloqueio',
        'ambiente'
    )
    AND NOT a.attnotnull;

-- The twelve are enough: every other column that must have a value finds one by itself.
SELECT count(*) > 0 AND bool_and(
    NOT a.attnotnull OR a.atthasdef OR a.attidentity <> '' OR a.attname IN (
        'tenant_id', 'lead_id', 'lead_nome', 'lead_telefone', 'lead_email',
        'canal_decidido', 'motivo_decisao', 'template_selecionado',
        'disparo_seria_executado', 'razao_bloqueio',
        'ambiente', 'feature_flag_enabled'
    )
)
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = pg_catalog.to_regclass('dry_run_log')
    AND a.attnum > 0
    AND NOT a.attisdropped;

-- The primary key is log_id alone, and it fills itself: as an identity, or by a default on an older table.
SELECT count(*) = 1
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = pg_catalog.to_regclass('dry_run_log')
    AND i.indisprimary
    AND i.indnkeyatts = 1
    AND a.attname = 'log_id'
    AND (a.attidentity <> '' OR a.atthasdef);

-- Every row gets its time ('D': a date or time type) by itself.
SELECT count(*) = 1
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = pg_catalog.to_regclass('dry_run_log')
    AND a.attname = 'created_at'
    AND t.typcategory = 'D'
    AND a.atthasdef;

-- The three indexes are there, on the right columns and fit for use. IF NOT EXISTS looks at nothing but the
-- name: it is also content with an index that a failed build left INVALID, or with another one so called.
SELECT count(*) = 3
FROM (
    VALUES
        ('dry_run_log_tenant_id_created_at_idx', '{tenant_id,created_at}', false),
        ('dry_run_log_lead_id_created_at_idx', '{lead_id,created_at}', false),
        ('dry_run_log_blocked_created_at_idx', '{created_at}', true)
) AS wanted (index_name, column_names, is_partial)
JOIN pg_catalog.pg_class AS c ON c.relname = wanted.index_name
JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
WHERE i.indrelid = pg_catalog.to_regclass('dry_run_log')
    AND i.indisvalid
    AND i.indisready
    AND (i.indpred IS NOT NULL) = wanted.is_partial
    AND wanted.column_names::text[] = ARRAY(
        SELECT pg_catalog.pg_get_indexdef(i.indexrelid, n, true)
        FROM generate_series(1, i.indnkeyatts) AS n
        ORDER BY n
    );

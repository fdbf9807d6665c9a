-- migration: lock_timeout = 2s

-- The log of the micro-agent for sends and appointments (Micro Agente de Disparos & Agendamentos) in dry-run
-- mode: one row for each decision about a lead, with what would have been sent and what stood in the way.
--
-- Safe to run again, also over a table that already holds rows: no row and no column changes, only comments
-- are set anew. The lock timeout is for such an older table: CREATE INDEX waits there for whoever is writing,
-- and every later writer waits behind it.

CREATE TABLE IF NOT EXISTS dry_run_log (
    -- An identity column, not a serial one: whoever may INSERT needs no right on a sequence.
    log_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,

    -- Text, not uuid: callers use names such as test-001 too, and a uuid is stored as its text.
    tenant_id text NOT NULL,

    -- All that is known of a lead may be missing: one without a phone number or an address is just the kind
    -- that a dry run should find.
    lead_id text,
    lead_nome text,
    lead_telefone text,
    lead_email text,

    -- No CHECK on the channel: a channel that the agent learns later would lose its log lines until somebody
    -- remembers this table.
    canal_decidido text NOT NULL,
    motivo_decisao text NOT NULL,
    template_selecionado text,
    disparo_seria_executado boolean NOT NULL,
    razao_bloqueio text,

    -- The agent sends process.env.ENV, which arrives as NULL where that variable isn't set.
    ambiente text,
    feature_flag_enabled boolean NOT NULL,

    created_at timestamptz NOT NULL DEFAULT now()
);

-- None of the indexes says DESC: PostgreSQL reads them backwards just as well, for "the newest first".

-- What was decided for this tenant, the newest first?
CREATE INDEX IF NOT EXISTS dry_run_log_tenant_id_created_at_idx
    ON dry_run_log (tenant_id, created_at);

-- What was decided for this lead? Also: which rows must go when that person asks to be forgotten?
CREATE INDEX IF NOT EXISTS dry_run_log_lead_id_created_at_idx
    ON dry_run_log (lead_id, created_at);

-- What was blocked lately, for whichever tenant, and why? The reason stays out of the index: it is free text,
-- and an index entry of more than about 2,700 bytes would make the INSERT fail.
CREATE INDEX IF NOT EXISTS dry_run_log_blocked_created_at_idx
    ON dry_run_log (created_at)
    WHERE NOT disparo_seria_executado;

COMMENT ON TABLE dry_run_log IS
    'Dry-run decisions of the micro-agent (Micro Agente de Disparos & Agendamentos), one row per decision. '
    'Holds personal data (lead_nome, lead_telefone, lead_email): limit who may read it and how long rows are '
    'kept. Nothing deletes old rows by itself.';
COMMENT ON COLUMN dry_run_log.log_id IS
    'Key, assigned by the database.';
COMMENT ON COLUMN dry_run_log.tenant_id IS
    'Tenant for whom the decision was taken, as the caller names it (a uuid or a name such as test-001).';
COMMENT ON COLUMN dry_run_log.lead_id IS
    'Lead that the decision is about, as the source of leads names it; null if it has no id.';
COMMENT ON COLUMN dry_run_log.lead_nome IS
    'Name of the lead at the time of the decision. Personal data.';
COMMENT ON COLUMN dry_run_log.lead_telefone IS
    'Phone number of the lead at the time of the decision; null if none. Personal data.';
COMMENT ON COLUMN dry_run_log.lead_email IS
    'E-mail address of the lead at the time of the decision; null if none. Personal data.';
COMMENT ON COLUMN dry_run_log.canal_decidido IS
    'Channel that was chosen, such as whatsapp, email, sms or none. Any text is accepted.';
COMMENT ON COLUMN dry_run_log.motivo_decisao IS
    'Why that channel was chosen, in words.';
COMMENT ON COLUMN dry_run_log.template_selecionado IS
    'Message template that would have been used; null if none was chosen.';
COMMENT ON COLUMN dry_run_log.disparo_seria_executado IS
    'True if the message would really have been sent outside dry-run mode; false if something blocked it.';
COMMENT ON COLUMN dry_run_log.razao_bloqueio IS
    'What blocked the message, in words; null if nothing did.';
COMMENT ON COLUMN dry_run_log.ambiente IS
    'Environment in which the agent ran (its ENV variable, such as dev or prod); null if that was not set.';
COMMENT ON COLUMN dry_run_log.feature_flag_enabled IS
    'Whether MICRO_AGENT_DISPARO_ENABLED was ''true'' when the decision was taken.';
COMMENT ON COLUMN dry_run_log.created_at IS
    'When the row was written (start of the transaction that wrote it).';

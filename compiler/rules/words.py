"""Names that PostgreSQL brings: functions by their volatility, and types. The servers under test confirm them."""


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


VOLATILE = _words(
    "clock_timestamp currval gen_random_bytes gen_random_uuid gen_salt lastval nextval random random_normal set_config",
    "setval timeofday uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 uuidv4 uuidv7",
)
"""Functions whose value differs from row to row (provolatile `v`): those that people write into a DEFAULT."""

STEADY = _words(
    "abs age array_append array_cat array_fill array_length array_position array_prepend array_remove array_to_json",
    "array_to_string ascii bit_length btrim cardinality ceil ceiling char_length chr concat concat_ws convert_from",
    "convert_to current_database current_schema current_setting date date_bin date_part date_trunc daterange decode",
    "degrees div encode exp extract float8 floor format host hstore inet_client_addr initcap int4 int4range int8",
    "int8range isfinite json_array_length json_build_array json_build_object json_object jsonb_array_length",
    "jsonb_build_array jsonb_build_object jsonb_object jsonb_set justify_days justify_hours justify_interval",
    "left length like_escape ln localtimestamp log lower lpad ltrim make_date make_interval make_time make_timestamp",
    "make_timestamptz md5 mod network now numeric numrange octet_length overlay pg_backend_pid pg_current_xact_id",
    "pi point polygon position power quote_ident quote_literal radians regexp_replace repeat replace reverse right",
    "round row_to_json rpad rtrim session_user sha256 sha512 sign split_part sqrt statement_timestamp string_to_array",
    "strpos substr substring text timestamp timestamptz timezone to_char to_date to_hex to_json to_jsonb to_number",
    "to_timestamp to_tsquery to_tsvector transaction_timestamp translate trim_array trunc tsrange tstzrange upper",
    "version",
)
"""Functions whose value holds for a whole statement (immutable or stable)."""

OF_ROWS = _words(
    "array_agg avg bool_and bool_or count cume_dist dense_rank every first_value generate_series generate_subscripts",
    "json_agg json_array_elements json_array_elements_text json_each json_each_text json_object_agg json_object_keys",
    "json_to_record json_to_recordset jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_each",
    "jsonb_each_text jsonb_object_agg jsonb_object_keys jsonb_to_record jsonb_to_recordset lag last_value lead max min",
    "mode nth_value ntile percent_rank percentile_cont percentile_disc rank regexp_matches regexp_split_to_table",
    "row_number stddev string_agg string_to_table sum unnest variance",
)
"""Functions that take or return several rows: aggregates, those of windows, and sets."""

SERIAL = _words("bigserial serial serial2 serial4 serial8 smallserial")
"""Not types: an integer, a sequence and a default of nextval()."""

EXTENSION_TYPES = _words("box2d box3d citext cube geography geometry halfvec hstore lquery ltree ltxtquery vector")
"""Base types of extensions that are in wide use."""

TYPES = EXTENSION_TYPES | _words(
    "bit bool box bpchar bytea char cidr circle date datemultirange daterange float4 float8 inet int2 int2vector int4",
    "int4multirange int4range int8 int8multirange int8range interval json jsonb jsonpath line lseg macaddr macaddr8",
    "money name nummultirange numeric numrange oid path pg_lsn pg_snapshot point polygon regclass regproc regtype",
    "text time timestamp timestamptz timetz tsmultirange tsquery tsrange tstzmultirange tstzrange tsvector",
    "txid_snapshot uuid varbit varchar xid xid8 xml",
)
"""Types of PostgreSQL and of those extensions: none is a domain."""

-- The signatures of pgcrypto. What these return has the right form and is no cryptography.
CREATE FUNCTION digest(data bytea, type text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE pg_catalog.lower(type) WHEN 'md5' THEN pg_catalog.decode(pg_catalog.md5(data), 'hex')
                WHEN 'sha1' THEN pg_catalog.substr(pg_catalog.sha256(data), 1, 20)
                WHEN 'sha224' THEN pg_catalog.sha224(data) WHEN 'sha384' THEN pg_catalog.sha384(data)
                WHEN 'sha512' THEN pg_catalog.sha512(data) ELSE pg_catalog.sha256(data) END $$;
CREATE FUNCTION digest(data text, type text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN digest(pg_catalog.convert_to(data, 'UTF8'), type);
CREATE FUNCTION hmac(data bytea, key bytea, type text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN digest(key || data, type);
CREATE FUNCTION hmac(data text, key text, type text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN digest(key || data, type);
CREATE FUNCTION crypt(password text, salt text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
    $$ SELECT pg_catalog.left(salt, 29) || pg_catalog.left(pg_catalog.md5(salt || password), 31) $$;
CREATE FUNCTION gen_salt(type text, rounds integer) RETURNS text LANGUAGE sql VOLATILE STRICT PARALLEL SAFE AS
    $$ SELECT '$2a$' || pg_catalog.lpad(rounds::text, 2, '0') || '$' || pg_catalog.left(pg_catalog.md5(pg_catalog.random()::text), 22) $$;
CREATE FUNCTION gen_salt(type text) RETURNS text LANGUAGE sql VOLATILE STRICT PARALLEL SAFE RETURN gen_salt(type, 6);
CREATE FUNCTION encrypt(data bytea, key bytea, type text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION decrypt(data bytea, key bytea, type text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION encrypt_iv(data bytea, key bytea, iv bytea, type text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION decrypt_iv(data bytea, key bytea, iv bytea, type text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION gen_random_bytes(count integer) RETURNS bytea LANGUAGE sql VOLATILE STRICT PARALLEL SAFE AS $$
    SELECT pg_catalog.substr(pg_catalog.decode(pg_catalog.string_agg(pg_catalog.md5(pg_catalog.random()::text), ''), 'hex'), 1, count)
      FROM pg_catalog.generate_series(0, count / 16) $$;
CREATE FUNCTION gen_random_uuid() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$ SELECT pg_catalog.gen_random_uuid() $$;
CREATE FUNCTION pgp_sym_encrypt(data text, key text) RETURNS bytea LANGUAGE sql VOLATILE STRICT PARALLEL SAFE AS $$ SELECT pg_catalog.convert_to(data, 'UTF8') $$;
CREATE FUNCTION pgp_sym_encrypt(data text, key text, options text) RETURNS bytea LANGUAGE sql VOLATILE STRICT PARALLEL SAFE AS $$ SELECT pg_catalog.convert_to(data, 'UTF8') $$;
CREATE FUNCTION pgp_sym_encrypt_bytea(data bytea, key text) RETURNS bytea LANGUAGE sql VOLATILE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION pgp_sym_encrypt_bytea(data bytea, key text, options text) RETURNS bytea LANGUAGE sql VOLATILE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION pgp_sym_decrypt(data bytea, key text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT pg_catalog.convert_from(data, 'UTF8') $$;
CREATE FUNCTION pgp_sym_decrypt(data bytea, key text, options text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT pg_catalog.convert_from(data, 'UTF8') $$;
CREATE FUNCTION pgp_sym_decrypt_bytea(data bytea, key text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION pgp_sym_decrypt_bytea(data bytea, key text, options text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION pgp_pub_encrypt(data text, key bytea) RETURNS bytea LANGUAGE sql VOLATILE STRICT PARALLEL SAFE AS $$ SELECT pg_catalog.convert_to(data, 'UTF8') $$;
CREATE FUNCTION pgp_pub_encrypt(data text, key bytea, options text) RETURNS bytea LANGUAGE sql VOLATILE STRICT PARALLEL SAFE AS $$ SELECT pg_catalog.convert_to(data, 'UTF8') $$;
CREATE FUNCTION pgp_pub_encrypt_bytea(data bytea, key bytea) RETURNS bytea LANGUAGE sql VOLATILE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION pgp_pub_encrypt_bytea(data bytea, key bytea, options text) RETURNS bytea LANGUAGE sql VOLATILE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION pgp_pub_decrypt(data bytea, key bytea) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT pg_catalog.convert_from(data, 'UTF8') $$;
CREATE FUNCTION pgp_pub_decrypt(data bytea, key bytea, password text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT pg_catalog.convert_from(data, 'UTF8') $$;
CREATE FUNCTION pgp_pub_decrypt(data bytea, key bytea, password text, options text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT pg_catalog.convert_from(data, 'UTF8') $$;
CREATE FUNCTION pgp_pub_decrypt_bytea(data bytea, key bytea) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION pgp_pub_decrypt_bytea(data bytea, key bytea, password text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION pgp_pub_decrypt_bytea(data bytea, key bytea, password text, options text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT data $$;
CREATE FUNCTION pgp_key_id(key bytea) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT 'ANYKEY' $$;
CREATE FUNCTION armor(data bytea) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT pg_catalog.encode(data, 'base64') $$;
CREATE FUNCTION armor(data bytea, keys text[], texts text[]) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT pg_catalog.encode(data, 'base64') $$;
CREATE FUNCTION dearmor(data text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT pg_catalog.decode(data, 'base64') $$;
CREATE FUNCTION pgp_armor_headers(data text, OUT key text, OUT value text) RETURNS SETOF record LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT ''::text, ''::text WHERE false $$;
CREATE FUNCTION fips_mode() RETURNS boolean LANGUAGE sql VOLATILE STRICT PARALLEL SAFE AS $$ SELECT false $$;

-- An object of every kind; see test_catalog.py.
CREATE SCHEMA app;
CREATE SCHEMA "Odd ""one.two";
CREATE EXTENSION pg_trgm;
CREATE EXTENSION citext SCHEMA app;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s');
CREATE TYPE app.pair AS (a int, b text COLLATE "C");
CREATE DOMAIN positive AS int NOT NULL DEFAULT 1 CONSTRAINT pos CHECK (VALUE > 0);
CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL DEFAULT 'x', total numeric(10,2) CHECK (total > 0), m mood DEFAULT 'ok',
  p positive, e app.citext, g int GENERATED ALWAYS AS (length(name)) STORED, s serial, UNIQUE (name,
  total) DEFERRABLE);
ALTER TABLE orders ALTER name SET STORAGE EXTERNAL, ALTER name SET STATISTICS 500,
  ALTER name SET (n_distinct = 5), ALTER name SET COMPRESSION pglz;
ALTER TABLE orders SET (fillfactor = 70), ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY,
  REPLICA IDENTITY FULL;
CREATE TABLE "Odd ""one.two"."T (x)" ("C.d" int REFERENCES orders, x text);
CREATE INDEX "I (x)" ON "Odd ""one.two"."T (x)" (lower(x)) WHERE x IS NOT NULL;
CREATE INDEX ON orders USING gin (name gin_trgm_ops);
CREATE UNLOGGED TABLE u (a int);
CREATE TABLE part (id int GENERATED ALWAYS AS IDENTITY, at date, o bigint REFERENCES orders) PARTITION BY RANGE (at);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE partd PARTITION OF part DEFAULT;
CREATE UNIQUE INDEX ON part (id, at);
CREATE INDEX ON part (o);
CREATE TABLE refs (id int, at date, FOREIGN KEY (id, at) REFERENCES part (id, at));
CREATE TABLE kid () INHERITS (u);
CREATE VIEW v AS SELECT o.id, o.name FROM orders o WHERE o.total > 5;
CREATE MATERIALIZED VIEW mv AS SELECT count(*) AS n FROM orders;
CREATE UNIQUE INDEX mvi ON mv (n);
CREATE FUNCTION f(a int, b text DEFAULT 'z') RETURNS int LANGUAGE sql STABLE AS 'select a';
CREATE FUNCTION app.g(orders) RETURNS mood LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  select 'ok'::mood $$;
CREATE FUNCTION h(a int) RETURNS int RETURN (SELECT a + 1);
CREATE PROCEDURE pr() LANGUAGE plpgsql AS 'begin end';
CREATE AGGREGATE ag(int) (sfunc = int4pl, stype = int, initcond = '0');
CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end';
CREATE TRIGGER tr BEFORE INSERT ON orders FOR EACH ROW WHEN (new.total > 3) EXECUTE FUNCTION t();
ALTER TABLE orders DISABLE TRIGGER tr;
CREATE CONSTRAINT TRIGGER ct AFTER INSERT ON orders DEFERRABLE FOR EACH ROW EXECUTE FUNCTION t();
CREATE TRIGGER ptr AFTER INSERT ON part FOR EACH ROW EXECUTE FUNCTION t();
CREATE POLICY po ON orders AS RESTRICTIVE FOR UPDATE TO public USING (total > 1) WITH CHECK (EXISTS (SELECT
  1 FROM u WHERE u.a = orders.s));
CREATE RULE ru AS ON DELETE TO u DO INSTEAD NOTHING;
CREATE STATISTICS st (dependencies) ON name, total FROM orders;
CREATE SEQUENCE sq AS int INCREMENT 5 CACHE 10 CYCLE OWNED BY u.a;
CREATE COLLATION co FROM "C";
CREATE CAST (app.pair AS text) WITH INOUT;
CREATE PUBLICATION pu FOR TABLE orders;
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE FUNCTION et() RETURNS event_trigger LANGUAGE plpgsql AS 'begin end';
CREATE EVENT TRIGGER evt ON ddl_command_end WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION et();
COMMENT ON TABLE orders IS 'it''s';
COMMENT ON COLUMN orders.name IS 'n';
COMMENT ON CONSTRAINT orders_pkey ON orders IS 'k';
COMMENT ON FUNCTION f(int,text) IS 'f';
COMMENT ON TYPE mood IS 'm';
COMMENT ON INDEX mvi IS 'i';
COMMENT ON TRIGGER tr ON orders IS 't';
COMMENT ON SCHEMA app IS 's';
COMMENT ON COLLATION co IS 'c';
COMMENT ON CONSTRAINT pos ON DOMAIN positive IS 'd';
COMMENT ON OPERATOR === (int, int) IS 'eq';
COMMENT ON EXTENSION citext IS 'mine';
ALTER TABLE orders ADD CONSTRAINT nv CHECK (total < 100) NOT VALID;
CREATE TEMP TABLE tmp (a int);

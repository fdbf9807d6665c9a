"""The plainest runner one can write with psycopg: each file and its name in one transaction. Arguments: URL FOLDER."""

import sys
from pathlib import Path

import psycopg


def main(url: str, folder: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS done (name text PRIMARY KEY, at timestamptz DEFAULT now())")
        for path in sorted(Path(folder).glob("*.sql")):
            with connection.transaction():
                connection.execute(path.read_bytes())
                connection.execute("INSERT INTO done (name) VALUES (%s)", [path.name])


if __name__ == "__main__":
    main(*sys.argv[1:])

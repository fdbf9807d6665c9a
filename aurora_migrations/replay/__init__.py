"""The replay: the whole history on an empty PostgreSQL, before it is deployed anywhere.

history      replays it: what each migration changes, what fails, what can't be replayed
outcome      what is known about a migration after its replay, as it is kept and shown
server       where: an embedded PostgreSQL with templates that are kept, or a server of the user's own
standins     stand-ins, as SQL, for extensions that the embedded PostgreSQL hasn't got
down         whether a down file undoes its migration
reasons      why a file can't be replayed though nothing is wrong with it
rows         whether a migration would fail on tables that hold rows
cache        what is kept of earlier replays, by content
expectations what files make, by a replay now: for adoptions
findings     what replays add to what `check` finds
known        what earlier replays have shown, for a run straight on a database
schema_file  the schema after the last migration, as SQL
"""

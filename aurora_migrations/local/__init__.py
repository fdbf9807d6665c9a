"""The local cloud: all that the product needs, on one machine, without Docker or an AWS account.

account         the AWS account that is simulated
database_login  the database to migrate, by its URL

cloud/          the deployed template, with the functions in it

`cloud` imports the modules here, never the other way round.
`python -m aurora_migrations.local` runs the PostgreSQL alone.
"""

"""Schema migrations for Aurora PostgreSQL: plain .sql files, one transaction per file.

engine     runs migrations on a database          compiler   reads, checks and hashes migration files
cdk        the stack on AWS                       cli        the command `aurora-migrations`
local      PostgreSQL and AWS on a laptop
"""

"""A PostgreSQL server on this machine.

server          starts, finds and stops it
data_directory  where its data is, and who uses it
binaries        its programs, and the account they run as
processes       ends processes, and the server with those that use it; locks between them
errors          what is shown when it doesn't work
"""

"""An embedded PostgreSQL: a server on this machine, for the local cloud, for replays and for tests.

server          starts, finds and stops it, also when its last user died
data_directory  where its data is, and who uses it
binaries        its programs, and the account they run as
processes       ends processes, and with them what they started; locks between them
errors          what is shown when it doesn't work
"""

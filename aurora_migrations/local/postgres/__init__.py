"""A PostgreSQL server on this machine.

server            starts, finds and stops it
data_directory    where its data is, and who uses it
binaries          its programs
os_account        the account it runs as
file_locks        locks between processes
process_lifetime  ends processes, and the server with the processes that use it
errors            what is shown when it doesn't work
"""

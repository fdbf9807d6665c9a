"""The PostgreSQL on this machine.

server           starts, finds and stops it      data_directory     where its data is, and who uses it
binaries         the programs                    os_account         the account it runs as
file_locks       locks between processes         process_lifetime   ends with the processes that use it
"""

"""Lambda on this machine: each call of a function in a process of its own, kept warm for the next.

service         the functions of the template, called
sandbox         one process, with its limits of time and memory
runtime_api     where that process gets its events and leaves its answers
bootstrap       what runs in it
runtime_client  its loop, where AWS's own client doesn't run
"""

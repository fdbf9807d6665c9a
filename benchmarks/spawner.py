"""Starts programs for the harness, from a process that is as small as Python gets.

Linux counts the memory of the process that starts a program towards the program's own peak: below that of its parent
no peak can be seen. So this runs as a script with `-I -S`, and imports nothing that isn't built in.

On stdin come (program with arguments, environment, folder, file for what it prints as errors), by `marshal`; on stdout
go the child's id and, when it has ended, (seconds, status, seconds of CPU, peak as the system counts).
"""

import marshal
import posix
import sys
from time import perf_counter


def serve() -> None:
    while True:
        try:
            command, environment, folder, errors = marshal.load(sys.stdin.buffer)
        except EOFError:
            return
        posix.chdir(folder)
        files = [
            (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0),
            (posix.POSIX_SPAWN_OPEN, 1, "/dev/null", posix.O_WRONLY, 0),
            (posix.POSIX_SPAWN_OPEN, 2, errors, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC, 0o600),
        ]
        began = perf_counter()
        child = posix.posix_spawn(command[0], command, environment, file_actions=files)
        _answer(child)
        _, status, usage = posix.wait4(child, 0)
        _answer((perf_counter() - began, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss))


def _answer(answer: int | tuple[float, ...]) -> None:
    marshal.dump(answer, sys.stdout.buffer)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve()

"""Environments from a terminal: on AWS, or in the local cloud, always through their state machine.

    environment   account, region and clients of one        executions      start, read, stop and find them
    client        run an action and wait for its result     progress        what an execution is doing
    display       progress, live or as plain lines          function_logs   log lines of the functions
    aws_errors    every way this can fail                   health_checks   the checks of `doctor`

Verbs that work on a database directly load nothing from here.
"""

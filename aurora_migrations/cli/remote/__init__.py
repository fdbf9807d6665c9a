"""Environments from a terminal: on AWS, or in the local cloud, always through their state machine.

    place      an environment, its account, region and clients      errors   every way this can fail, AWS's errors
    execution  start, read, stop and find executions; their result  asking   run an action and wait for its result
    follow     the progress of an execution                         screen   displays of it, live or as plain lines
    lines      the functions' log                                   health   the checks of `doctor`

Verbs that work on a database directly load nothing from here.
"""

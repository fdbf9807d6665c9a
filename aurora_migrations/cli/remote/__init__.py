"""Environments from a terminal: on AWS, or in the local cloud, always through their state machine.

    client       run an action and wait for its result     environment   one of them, and its executions
    progress     what an execution is doing                aws_errors    every way this can fail

Verbs that work on a database directly load nothing from here.
"""

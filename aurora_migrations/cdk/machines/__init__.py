"""State machines beside the workflow, and what all are made of.

states     building blocks: a machine with its log, calls of functions, mails, conditions
failure_branch  from a caught error to a mail             watchdogs  executions that ended, and the daily check
gate       has a deployment wait for the run
"""

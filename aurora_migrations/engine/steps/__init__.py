"""The steps of an execution: what they have in common, and the step Verify.

execution   its input, its initiator and its page      step      one call of one step, and its deadline
settings    an environment's settings                  layout    how a mail is laid out, and two fixed mails
verify      checks the database after a run            tables    tables, rows and indexes as they are
undo        whether a rollback has left it as before
"""

"""What the steps of an execution have in common.

execution_input   the input of an execution      settings      an environment's settings
step              one call of one step           deadline      the time that a call has left
execution         its initiator and its page     layout        how a mail is laid out
fixed_mails       the two mails that no function writes
"""

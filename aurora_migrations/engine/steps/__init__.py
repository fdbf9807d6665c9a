"""What the steps of an execution have in common.

execution   its input, its initiator and its page      step      one call of one step, and its deadline
settings    an environment's settings                  layout    how a mail is laid out, and two fixed mails
"""

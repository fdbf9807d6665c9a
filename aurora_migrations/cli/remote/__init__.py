"""An environment from a terminal: on AWS, or in the local cloud, always through its state machine.

    place      which environment, account and region; AWS's clients       errors    every way this can fail
    execution  start, look, stop: the state machine's executions          failing   AWS's errors in our words
    events     what an execution does, as its history tells               asking    from a question to its answer
    lines      what the functions log of it                               outcome   how it ended, as data or an error
    story      both as lines for people                                   running   run and rollback
    follow     all that while it happens                                  screen    live on a terminal, else plain lines
    health     what `doctor` looks at                                     tables    what was verified, as a table

Nothing here is loaded by a verb that works on a database directly.
"""

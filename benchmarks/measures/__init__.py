"""What is measured: each module makes the table of one or more rows of the README.

applying      1,000 migrations beside other tools; over a link    nothing       nothing to do at 1,000
many          the verbs at 10,000 applied                         growing       5,000 pending, 3,200 units
memory        a file of 20 MB; one of 100,000 statements          compiling     `check` of one file and of 8,000
round_trips   messages waited for, per migration                  importing     a handler's import
executing     an execution in the local cloud                     building      an index of 5 million rows
replaying     a replay of 500 files                               predicting    predicted locks beside real ones

The last two are programs of their own.
"""

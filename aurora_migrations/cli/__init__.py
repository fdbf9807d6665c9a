"""The command `aurora-migrations VERB`.

main      finds the verb, exit codes        options    arguments, and the command to type next
output    everything that is printed        findings   what `check` found
keyboard  single keys                   replays    replays of the history, for several verbs

verbs/    the verbs       remote/   environments on AWS       templates/   SQL that `new --template` fills in
"""

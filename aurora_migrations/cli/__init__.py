"""The command `aurora-migrations VERB`.

main      finds the verb, prints errors, exit codes      options    arguments, and the command to type next
queries   read-only verbs, here or on AWS                output     tables, paragraphs, JSON
keyboard  single keys                                    printable  nothing printed controls the terminal

verbs/    one module per verb       remote/   environments on AWS       templates/   migrations to start from
"""

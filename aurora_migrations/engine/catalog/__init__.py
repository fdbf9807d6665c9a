"""The catalogue as data: what a database consists of, what a migration changes of it, and how two of them compare.

facts    reads the catalogue in one query       parts    that query, catalogue by catalogue
change   what one migration does, and what       compare  what differs from it
         several of them leave                  effects  what a file has done, before it commits
drift    what a database has that its         mend     SQL against drift
         migrations haven't made, and lacks   pages    facts as an execution's output
"""

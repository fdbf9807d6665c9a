"""The compiler: what a migration is and does, found with PostgreSQL's own grammar before anything is run.

    compile            a file's text, understood          folder_source     a folder as the engine's source
    check              all findings about a folder, by all processors; also as annotations of a pull request
    parser             statements and tokens, their positions; texts too deep for the grammar
    transaction_units  what commits together, and what a unit leaves in its session
    hazards            risky statements                   squawk            the part of them that squawk finds
    nontransactional   statements that PostgreSQL refuses to run in a transaction
    unit_dependencies  what a later statement of a file lacks
    token_hash         whether an edit changes a file     secret_literals   passwords in a text
    remedies           what to write instead              unknown_tables    tables that no earlier file creates
    foreign_markers    markers of other tools             locks/            locks, rewrites and scans
    plain/             what needs no grammar: plain tokens, and rows that are alike

Lambda reads its result, the manifest, and never loads it.
"""

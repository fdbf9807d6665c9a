"""The compiler: what a migration is and does, found with PostgreSQL's own grammar before anything is run.

    compile            a file's text, understood          folder_source       a folder as the engine's source
    check              all findings about a folder        github_annotations  the same for a pull request
    parser             statements and their positions     parser_limits       texts too deep for the parser
    transaction_units  what commits together              session_state       what a unit leaves in its session
    unit_dependencies  what a later statement lacks       nontransactional    what no transaction can hold
    hazards            risky statements                   squawk              the part of them that squawk finds
    token_hash         whether an edit changes a file     secret_literals     passwords in a text
    foreign_markers    markers of other tools             locks/              locks, rewrites and scans

Lambda reads its result, the manifest, and never loads it.
"""

"""What people bring from other migration tools.

layouts          a folder of another tool, laid out as ours
recognition      which tool's folder it is
tools            the tools: what each looks for, and its order
directed_files   tools with one file or folder for each direction
annotated_files  tools with both directions in one file
dump             what pg_dump writes, as a migration
files            reading such a folder
"""

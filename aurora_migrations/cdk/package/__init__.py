"""The Lambda package.

build      makes it         verify   checks what is in it         bundling   the same, for the CDK
"""

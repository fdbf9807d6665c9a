"""Texts of cdk.json that must fit what others read in them: e-mail addresses, hosts, a database's name, ARNs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from infra.reader import Reader, Reference

LONGEST_NAME = 63  # bytes that PostgreSQL keeps of a database's name
SECRET_ARN = r"arn:[\w-]+:secretsmanager:[\w-]+:\d{12}:secret:[\w/+=.@!-]+-[A-Za-z0-9]{6}"
KEY_ARN = r"arn:[\w-]+:kms:[\w-]+:\d{12}:key/[\w-]+"

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_WORD = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
# The plain form that everybody's mail knows, of the lengths of RFC 5321: no names, brackets, quotes or comments.
_EMAIL = re.compile(
    rf"(?=.{{1,254}}\Z)(?=[^@]{{1,64}}@){_WORD}(?:\.{_WORD})*@(?:{_LABEL}\.)+[A-Za-z][A-Za-z0-9-]{{0,61}}[A-Za-z0-9]"
)
_HOST_LABEL = _LABEL.replace("0-9", "0-9_")  # names inside of a VPC may have underscores
_HOST = rf"(?=.{{1,253}}\Z){_HOST_LABEL}(?:\.{_HOST_LABEL})*"
# What RDS puts into the names of endpoints that aren't a cluster's writer.
_NOT_THE_WRITER = {
    "cluster-ro": "is the cluster's reader endpoint",
    "cluster-custom": "is a custom endpoint, which may lead to a reader",
    "proxy": "is an endpoint of RDS Proxy, which can't keep a session's lock or cancel a statement",
}
_KIND = re.compile(rf"\.({'|'.join(_NOT_THE_WRITER)})-[a-z0-9]+\.[a-z0-9-]+\.rds\.", re.IGNORECASE)
_NAME = r"[^\s/?#\x00-\x1f\x7f\ud800-\udfff]+"


def read_emails(keys: Reader, key: str) -> tuple[str, ...]:
    """At least one address.

    Raises:
        SettingsError: one isn't the plain address of one person or list, or stands there twice.
    """
    emails = keys.texts(key, _EMAIL, "an e-mail address, plain and one by one, such as team@example.com", least=1)
    keys.refuse_twice(key, [email.casefold() for email in emails])
    return emails


def read_host(keys: Reader, key: str) -> Reference:
    """The cluster's writer endpoint.

    Raises:
        SettingsError: it is no host's name, or one that RDS gives to other endpoints.
    """
    host = keys.reference(key, _HOST, "the cluster's writer endpoint")
    other = _KIND.search(host.text) if host.kind == "value" else None
    if other is not None:
        raise keys.wrong(key, f"{_NOT_THE_WRITER[other[1].lower()]}: write the cluster's writer endpoint")
    return host


def read_database_name(keys: Reader, key: str) -> Reference:
    """A database's name.

    Raises:
        SettingsError: no database can have it, or no address of one can hold it.
    """
    name = keys.reference(key, _NAME, "a database's name")
    length = len(name.text.encode("utf-8"))
    if name.kind == "value" and length > LONGEST_NAME:
        raise keys.wrong(key, f"has {length} bytes, and PostgreSQL keeps {LONGEST_NAME} of a name")
    return name


def region_of(arn: Reference | None) -> str | None:
    """Where what is written out as an ARN lies; None where CloudFormation will find out."""
    return arn.text.split(":")[3] if arn is not None and arn.kind == "value" else None


def refuse_other_regions(keys: Reader, region: str | None, arns: Sequence[tuple[str, Reference | None]]) -> None:
    """The functions ask the Secrets Manager of their own region, and let it use keys of that region only.

    Args:
        region: the environment's, if it is set; else all must lie in one.

    Raises:
        SettingsError: one lies elsewhere.
    """
    wanted, why = region, "the environment's `region`"
    for key, arn in arns:
        found = region_of(arn)
        if found is not None and wanted is not None and found != wanted:
            raise keys.wrong(key, f"lies in {found}, and must lie in {why}, {wanted}")
        if wanted is None and found is not None:
            wanted, why = found, f"the region of `{key}`"

"""The Lambda functions: `preflight`, `apply` and `verify`, each with a handler, and what only they need.

    entrypoint       from an event to a handler and back      telemetry       log lines and metrics
    database_secret  the login, from Secrets Manager          error_payload   an error as Step Functions gets it
    mail             mails about errors and successes         workflow_mails  mails about executions that died
    remediation      remedy and next command in an environment

Deployed with the engine; nothing else imports it.
"""

"""The Lambda functions: `preflight`, `apply` and `verify`, each with its `handler`, and what only they need.

    entrypoint       from an event to a handler, and from an error to the JSON that Step Functions gets
    database_secret  the login, from Secrets Manager          telemetry       log lines and metrics
    mail             mails about errors and successes         workflow_mails  mails about executions that died
    remediation      remedy and next command in an environment
    undo             rolls back a run whose verification has failed
    gate             has a deployment wait for its run

Deployed with the engine; nothing else imports it.
"""

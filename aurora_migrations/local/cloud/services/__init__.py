"""AWS's services as far as moto lacks them; moto's own objects keep the state.

iam             one call of an API, and whether a role may make it
callers         signatures, and no web pages
cloudformation  deploys the template; the kinds of resources that moto doesn't know
stepfunctions   names, status events and stops of executions
eventbridge     events to the rules' state machines, dead letters, their alarm
cloudwatch_logs the functions' log lines
inbox           the mails
"""

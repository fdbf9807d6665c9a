"""AWS's services as far as moto lacks them; moto's own objects keep the state.

iam               a call of an API: its signature, and whether a role may make it; no web pages
cloudformation    deploys the template; the kinds of resources that moto doesn't know
custom_resources  requests to functions while a stack is deployed
stepfunctions     names, status events and stops of executions
eventbridge       events to the rules' state machines, dead letters, their alarm
cloudwatch_logs   the functions' log lines
lambda_functions  Lambda: calls the template's functions, each in a process that is kept warm for the next
sandbox           one such process, with its limits of time and memory, and how it gets its events
bootstrap         what runs in it
"""

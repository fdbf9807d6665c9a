"""The local cloud: the template that is deployed on AWS, on a laptop, with the packaged functions in it.

    cloud        all of it, put together               settings     the environment `local`
    template     the template, kept                    synthesis    the template, made (in its own process)
    package      the Lambda package for this machine   kept         packages, as long as they are used
    contents     the migrations' folder, in one hash   fitting      whether the cloud that is up is the one meant
    running      a cloud, found by others              reach        found, or started for the moment
    stack        template and account, in moto         console      inbox and deployments, beside AWS's services
    resources    what moto's CloudFormation lacks      hurry        state machines that don't wait
    endpoint     where every AWS call arrives          calls        a call, read
    identity     account, keys, roles                  rights       what a role may do
    functions    Lambda: sandboxes, warm               sandbox      one process, with its limits
    runtime_api  what a process asks for events        bootstrap    what runs in it (with AWS's client, or
    logs         what functions write                               runtime_loop, a small one of ours)
    events       EventBridge: rules to machines        executions   status events, stops
    inbox        the mails                              fast         botocore, read once
    callers      who may call: signatures, no web page

`infra/` and `functions/` know nothing of it. moto keeps the services' state and interprets the state machines; what it
lacks stands here.
"""

from aurora_migrations.local.cloud import fast  # before moto, which any of them may import

__all__ = ["fast"]

"""The local cloud: the template that is deployed on AWS, run on a laptop, with the packaged functions in it.

cloud           all of it, put together: `with opened(...) as cloud`
discovery       the cloud that `up` keeps running, or one started for the moment
endpoint        the HTTP server where every AWS call arrives
console         inbox and deployments, beside AWS's services

cache/          template and package, built when their sources change
services/       what moto lacks of AWS's services
lambda_service/ Lambda: the functions in processes of their own

moto keeps the services' state and interprets the state machines. Each room imports only those below it:
cloud > lambda_service > services, cloud > cache, and all of them `local/account.py`.
"""

from aurora_migrations.local import account  # before moto, which any module here may import

__all__ = ["account"]

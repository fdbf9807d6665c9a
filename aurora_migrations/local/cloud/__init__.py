"""The local cloud: the template that is deployed on AWS, run on a laptop, with the packaged functions in it.

cloud           all of it, put together: `with opened(...) as cloud`
discovery       the cloud that `up` keeps running, or one started for the moment
endpoint        the HTTP server where every AWS call arrives
console         inbox and deployments, beside AWS's services
template_cache  the CloudFormation template, built when its sources change
package_cache   the Lambda package for this machine, built when its sources change
artifact_cache  the folder of both: lock, digests, what is in use

services/       what moto lacks of AWS's services, Lambda among them

moto keeps the services' state and interprets the state machines. No service imports a module of this folder.
"""

from aurora_migrations.local import account  # before moto, which any module here may import

__all__ = ["account"]

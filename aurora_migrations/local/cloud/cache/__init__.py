"""What a local cloud is made of, kept between runs and built again when its sources change.

artifact_cache  the cache folder: lock, digests, what is in use
package_cache   the Lambda package for this machine
template_cache  the CloudFormation template
"""

"""This repository's own deployment: the environments of cdk.json, a stack each."""

"""Verbs that make what is deployed: `build` the Lambda package, `synth` also the template."""

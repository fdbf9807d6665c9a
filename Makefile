# Everything happens in tasks.py, which Windows users call directly: python -m tasks VERB
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help run up test torture build synth docs lint clean setup

run up test torture build synth docs lint clean setup:
	@$(PYTHON) -m tasks $@ $(ARGS)

help:
	@$(PYTHON) -m tasks help

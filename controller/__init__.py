"""canaryctl: a canary migration controller for LLM models."""

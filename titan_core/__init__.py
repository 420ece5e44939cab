"""The engine: a master that schedules, workers that run jobs as child processes, and the operator's shell."""

__version__ = "0.1.0"

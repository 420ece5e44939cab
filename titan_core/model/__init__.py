"""What the engine talks about: jobs, runs, attempts, workers, and the one table of job states."""

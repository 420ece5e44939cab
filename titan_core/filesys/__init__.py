"""Files: contents by digest, the artifact registry, logs, archives, and the sandboxes jobs run in."""

"""The dashboard: the cluster in a browser. Talks to the master through titan_sdk alone."""

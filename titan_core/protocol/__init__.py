"""The master's network side: the server, its handlers, the services behind them, and the links to workers."""

"""The opcodes the master serves, each with its structured and its classic side over the same service."""

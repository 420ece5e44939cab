"""Independent imitations of the original's programs, written from the wire contract with sockets and struct alone.

Nothing here imports Titan: a mistake that our code makes in both directions would otherwise pass unseen.
"""

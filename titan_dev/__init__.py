"""What ./titan-dev does.

``environment`` and ``main`` run on any Python 3.10+ without a library; the other modules run in .venv.
"""

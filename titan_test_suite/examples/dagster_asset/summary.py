"""Sums its arguments up."""

import sys

print(sum(map(int, sys.argv[1:])), "primes below", 1000 * len(sys.argv[1:]))

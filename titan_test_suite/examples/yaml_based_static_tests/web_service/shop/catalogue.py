"""The articles and their prices, from a file of the project."""

import csv
from pathlib import Path

FILE = Path(__file__).with_name("prices.csv")


class Catalogue:
    def __init__(self) -> None:
        with FILE.open(newline="") as file:
            self.prices = {row["article"]: float(row["price"]) for row in csv.DictReader(file)}

    def problem(self) -> str:
        """Why nothing can be sold; empty when all is well."""
        if not self.prices:
            return "the catalogue is empty"
        return "" if FILE.exists() else "the catalogue is gone"

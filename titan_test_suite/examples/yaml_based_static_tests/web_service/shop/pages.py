"""The shop's page."""

from html import escape


def render(prices: dict[str, float], attempt: str) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{price:.2f}</td></tr>" for name, price in prices.items())
    return f"<!doctype html><title>Shop</title><h1>Shop</h1><table>{rows}</table><p>Start number {escape(attempt)}</p>"

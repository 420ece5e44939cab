"""Write the report: two charts as SVG and a page with both and the ranking."""

from __future__ import annotations

import platform
from html import escape

import bus
from chart import bars

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Complexity of the standard library</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .15rem .8rem .15rem 0; text-align: left; }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; }} svg {{ max-width: 100%; height: auto; }}
</style>
<h1>Complexity of the standard library</h1>
<p>Python {version}: {functions} functions in {lines} lines of source.</p>
{top}
{spread}
<h2>Ranking</h2>
<table><tr><th></th><th>complexity</th><th>lines</th><th>function</th><th>where</th></tr>
{rows}
</table>
</html>
"""


def main() -> None:
    whole, ranking, histogram = bus.read("functions.json"), bus.read("ranking.json"), bus.read("histogram.json")
    top = bars(
        "The most complex functions (McCabe)",
        [(f"{row['function']} ({row['file']})", row["complexity"]) for row in ranking],
    )
    spread = bars("Functions by complexity", [(item["label"], item["count"]) for item in histogram])
    rows = "\n".join(
        f'<tr><td class="n">{row["place"]}</td><td class="n">{row["complexity"]}</td><td class="n">{row["lines"]}</td>'
        f"<td>{escape(row['function'])}</td><td>{escape(row['file'])}:{row['line']}</td></tr>"
        for row in ranking
    )
    folder = bus.run_folder()
    (folder / "chart.svg").write_text(top, encoding="utf-8")
    (folder / "spread.svg").write_text(spread, encoding="utf-8")
    page = PAGE.format(
        version=platform.python_version(),
        functions=len(whole["functions"]),
        lines=whole["lines"],
        top=top,
        spread=spread,
        rows=rows,
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
    print((folder / "ranking.txt").read_text(encoding="utf-8"))
    print(f"report: {folder / 'report.html'}")


if __name__ == "__main__":
    main()

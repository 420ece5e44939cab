"""Ask the run's database what was loaded into it."""

import json
import socket

from titan_sdk import TitanClient

QUERY = "SELECT place, count(*), round(avg(degrees), 1), max(degrees) FROM measurements GROUP BY place ORDER BY place\n"

with TitanClient() as client:
    address = client.service("db").address
with socket.create_connection(address) as connection, connection.makefile("rw") as session:
    session.write(QUERY)
    session.flush()
    for place, count, mean, most in json.loads(session.readline())["rows"]:
        print(f"{place}: {count} hours, {mean} degrees on average, {most} at most")

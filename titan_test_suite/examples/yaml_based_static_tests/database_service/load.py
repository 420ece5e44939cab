"""Write a day's measurements of one place into the run's database."""

import json
import math
import socket
import sys

from titan_sdk import TitanClient

place, warmth = sys.argv[1], float(sys.argv[2])
with TitanClient() as client:
    address = client.service("db").address
with socket.create_connection(address) as connection, connection.makefile("rw") as session:
    for hour in range(24):
        degrees = warmth + 6 * math.sin((hour - 9) * math.pi / 12)
        session.write(f"INSERT INTO measurements VALUES ('{place}', {hour}, {degrees:.2f})\n")
        session.flush()
        answer = json.loads(session.readline())
        if "error" in answer:
            sys.exit(answer["error"])
print(f"24 measurements of {place}")

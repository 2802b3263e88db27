"""A child that answers out of a table, without measuring: the rounds of `bedside tune` are then exact.

Arguments: a JSON file `{"ENGINE THREADS": [PACED_MS per visit, or a word for a refusal, ...]}`, and a file that
gets one line for each visit. The last entry holds for all further visits.
"""

import json
import sys
from pathlib import Path

table, visits = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
order = json.loads(sys.stdin.buffer.read())
who = f"{order['candidate']['engine']} {order['candidate']['threads']}"
before = visits.read_text().splitlines().count(who) if visits.exists() else 0
with visits.open("a") as file:
    file.write(who + "\n")
entry = table[who][min(before, len(table[who]) - 1)]
if entry == "crash":
    raise SystemExit("boom")
if isinstance(entry, str):
    answer = {"type": "refused", "reason": entry}
else:
    answer = {
        "type": "times",
        "paced_ns": [round(entry * 1e6)] * order["paced"],
        "back_to_back_ns": [round(entry * 5e5)] * order["back_to_back"],
        "cpu_ns": round(2e6 * entry * order["paced"]),
        "memory_bytes": 1_000_000 * (before + 1),
        "golden_error": 0.001 * (before + 1),
    }
print(json.dumps(answer))  # noqa: T201

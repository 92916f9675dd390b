#!/usr/bin/env python3
"""Judges a report of the Autobahn|Testsuite: `judge.py index.json`.

Every case must be OK, or informational where the suite has no opinion. The two cases below may be
"non-strict", because the WebSocket engine looks at the UTF-8 of a text message at the end of each
frame, and not as the bytes arrive: it fails the connection as it must, but not at once.
"""

import collections
import json
import sys

GOOD = {"OK", "INFORMATIONAL"}
NON_STRICT_ALLOWED = {"6.4.3", "6.4.4"}
# All cases of chapters 1 to 10 (there is no chapter 8). With fewer the run was not complete.
CASES = 301


def faults(cases):
    """Yields what is wrong with the cases of one agent."""
    if len(cases) != CASES:
        yield f"{len(cases)} cases were run, expected {CASES}"
    for name in sorted(cases, key=lambda name: [int(part) for part in name.split(".")]):
        behaviour, close = cases[name]["behavior"], cases[name]["behaviorClose"]
        allowed = behaviour == "NON-STRICT" and name in NON_STRICT_ALLOWED
        if behaviour not in GOOD and not allowed:
            yield f"case {name}: {behaviour}"
        if close not in GOOD:
            yield f"case {name}: {close} in the closing handshake"


def main(path):
    with open(path, encoding="utf-8") as file:
        agents = json.load(file)
    wrong = [] if agents else ["the report is empty"]
    for agent, cases in agents.items():
        count = collections.Counter(case["behavior"] for case in cases.values())
        print(f"{agent}: " + ", ".join(f"{n} {what}" for what, n in sorted(count.items())))
        wrong += [f"{agent}, {fault}" for fault in faults(cases)]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

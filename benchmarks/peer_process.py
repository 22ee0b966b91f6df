"""A script of peers/ in a process of its own, which answers one request at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parent / "peers"


class PeerProcess:
    """A process that gets a request as a line of text and answers with a line of JSON."""

    def __init__(self, script, *arguments, python=sys.executable, **settings):
        self.process = subprocess.Popen(
            list(map(str, (python, PEERS / script, *arguments))),
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"} | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.rows = []

    def epoch(self):
        self.rows.append(self.request("go"))

    def request(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.read()

    def finish(self):
        """Close its input; gives what it prints last."""
        self.process.stdin.close()
        last = self.read()
        self.process.wait()
        return last

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[1]} ended early, exit code {self.process.wait()}")
        return json.loads(line)

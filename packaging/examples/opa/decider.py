#!/usr/bin/env python3
"""Answers guard's held calls with what an Open Policy Agent decides. Python's own library and nothing else.

    opa run --server --addr unix:///run/guard-opa/opa.sock held.rego
    decider.py --listen /run/guard-opa/decider.sock --opa /run/guard-opa/opa.sock

and in /etc/guard/guard.yaml

    decider: { socket: /run/guard-opa/decider.sock }

Make /run/guard-opa for one user alone (RuntimeDirectory= and RuntimeDirectoryMode=0700 of a unit): whoever can
reach OPA's socket can change its policies.

guard sends one line of JSON on each connection and takes one back. Where OPA has no decision, or is not there, this
hangs up without one: guard asks again until its deadline, and then refuses the call as nobody's answer.
"""

import argparse
import http.client
import json
import os
import socket
import socketserver
import stat
import sys

# A call's facts with a long argv are a few kilobytes.
LONGEST = 1 << 20
# Beyond guard's deadline nobody listens any more.
PATIENCE = 10


class Opa(http.client.HTTPConnection):
    """HTTP over OPA's unix socket."""

    def __init__(self, path):
        super().__init__("opa", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def decide(opa, rule, call):
    """What OPA's rule says of this call."""
    connection = Opa(opa)
    try:
        body = json.dumps({"input": call})
        connection.request("POST", "/v1/data/" + rule, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read(LONGEST)
    finally:
        connection.close()
    if response.status != 200:
        raise ValueError(f"OPA answered with status {response.status}: {text[:200]!r}")
    # An undefined rule is an answer without a result.
    decision = json.loads(text)["result"]
    if decision["answer"] not in ("approve", "deny", "pass"):
        raise ValueError(f"{decision!r} is no decision")
    return decision


class Handler(socketserver.StreamRequestHandler):
    timeout = PATIENCE

    def handle(self):
        call = None
        try:
            call = json.loads(self.rfile.readline(LONGEST))["call"]
            decision = decide(self.server.opa, self.server.rule, call)
            answer = {
                "answer": decision["answer"],
                "note": str(decision.get("note", ""))[:256],
                # So that no answer is ever taken for another call's.
                "digest": call["digest"],
            }
            self.wfile.write(json.dumps(answer).encode() + b"\n")
        except (OSError, http.client.HTTPException, KeyError, TypeError, ValueError) as error:
            number = call.get("id") if isinstance(call, dict) else None
            print(f"call {number}: no answer: {error!r}", file=sys.stderr, flush=True)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


def main():
    parser = argparse.ArgumentParser(description="answers guard's held calls with what an OPA decides")
    parser.add_argument("--listen", required=True, metavar="SOCKET", help="where guard asks")
    parser.add_argument("--opa", required=True, metavar="SOCKET", help="where OPA listens")
    parser.add_argument("--rule", default="guard/decision", help="its rule (default: %(default)s)")
    args = parser.parse_args()
    os.umask(0o077)
    try:
        # One that was left behind; anything else in its place is an error below.
        if stat.S_ISSOCK(os.stat(args.listen).st_mode):
            os.unlink(args.listen)
    except FileNotFoundError:
        pass
    with Server(args.listen, Handler) as server:
        server.opa, server.rule = args.opa, args.rule
        server.serve_forever()


if __name__ == "__main__":
    main()

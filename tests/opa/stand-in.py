"""As much of OPA's REST API as a decider asks, on a unix socket: POST /v1/data/guard/decision. It decides as
packaging/examples/opa/held.rego does about what the tests ask."""

import http.server
import json
import socketserver
import sys


def decision(call):
    words = call.get("argv") or []
    push = call["action"] == "exec" and call["object"] == "/usr/bin/git" and "push" in words
    if push and any(word.startswith("--force") or word == "-f" for word in words):
        return {"answer": "deny", "note": "nobody rewrites history"}
    if call["action"] == "read" and call["object"].endswith(".key"):
        return {"answer": "deny", "note": "keys are nobody's to read"}
    if push and words == ["push", "origin"]:
        return {"answer": "approve", "note": "a plain push to the gateway's remote"}
    if call["action"] == "write" and call["object"].startswith("/srv/scratch/"):
        return {"answer": "approve", "note": "the team's scratch space"}
    return {"answer": "pass"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        # As OPA does: a path that names nothing has no result.
        answer = {"result": decision(body["input"])} if self.path == "/v1/data/guard/decision" else {}
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


with Server(sys.argv[1], Handler) as server:
    server.serve_forever()

#!/usr/bin/env python3
"""Verifies a log of guard; written from docs/audit-format.md alone.

Needs Python 3 with nothing but its standard library, and the `openssl` command.

    verify.py LOG-DIRECTORY KEYS-DIRECTORY [--witness HEAD-FILE]

Prints a line for each fault (its name, segment, line) and a last one with the counts. Exit code 0: whole,
1: at least one fault, 3: could not look.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile

SIGNATURE = re.compile(rb',"sig":"([0-9a-f]{128})"}\Z')
SEGMENT = re.compile(r"\A(?!0{10})([0-9]{10})\.ndjson\Z")
# DER in front of the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
ED25519 = bytes.fromhex("302a300506032b6570032100")


def sha256(line):
    return hashlib.sha256(line).hexdigest()


def parse(line):
    """The object on a line, or None."""
    try:
        value = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def one_line(text):
    if text is not None and text.endswith(b"\n"):
        text = text[:-1]
    return text


class Key:
    """The host's public key; signatures are left to openssl."""

    def __init__(self, path):
        self.path = path
        pem = (read(path) or b"").decode("ascii", "replace")
        match = re.fullmatch(
            r"-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=\n]+)-----END PUBLIC KEY-----\n?", pem
        )
        if not match:
            raise ValueError("no public key in PEM")
        der = base64.b64decode(match.group(1).replace("\n", ""), validate=True)
        if len(der) != 44 or not der.startswith(ED25519):
            raise ValueError("not an Ed25519 key")
        self.hex = der[12:].hex()

    def signed(self, line):
        """Whether the line carries this key's signature."""
        match = SIGNATURE.search(line)
        if not match:
            return False
        with tempfile.TemporaryDirectory() as directory:
            signed = os.path.join(directory, "signed")
            sig = os.path.join(directory, "sig")
            with open(signed, "wb") as file:
                file.write(line[: match.start()] + b"}")
            with open(sig, "wb") as file:
                file.write(bytes.fromhex(match.group(1).decode()))
            command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", self.path]
            command += ["-rawin", "-in", signed, "-sigfile", sig]
            done = subprocess.run(command, capture_output=True, check=False)
        return done.returncode == 0


class Verifier:
    def __init__(self, log, keys):
        self.log, self.keys = log, keys
        self.faults = []
        self.removed = {}
        self.begin = None
        self.wanted = {}
        self.lines = 0
        self.torn = 0
        self.last_hash = None
        self.last_record = 0
        self.last_segment = None

    def fault(self, name, segment=0, line=0):
        self.faults.append((name, segment, line))

    def identity(self):
        try:
            self.key = Key(os.path.join(self.keys, "audit.pub"))
        except ValueError:
            return False
        line = one_line(read(os.path.join(self.keys, "genesis")))
        genesis = parse(line) if line else None
        if not genesis or genesis.get("kind") != "genesis" or genesis.get("format") != 1:
            return False
        if genesis.get("key") != self.key.hex or not self.key.signed(line):
            return False
        self.genesis = sha256(line)
        return True

    def head(self, text):
        """A head that the key signed for this genesis, or None."""
        line = one_line(text)
        head = parse(line) if line else None
        if not head or head.get("kind") != "head" or head.get("genesis") != self.genesis:
            return None
        if not all(isinstance(head.get(name), int) for name in ("segment", "lines", "record")):
            return None
        return head if self.key.signed(line) else None

    def run(self, witness):
        if not self.identity():
            self.fault("identity")
            return
        heads = [("short", self.head(read(os.path.join(self.keys, "head"))))]
        if heads[0][1] is None:
            self.fault("head")
        if witness is not None:
            heads.append(("witness", self.head(witness)))
            if heads[1][1] is None:
                self.fault("witness")
        heads = [(name, head) for name, head in heads if head is not None]
        self.covered = max((head["record"] for name, head in heads if name == "short"), default=0)
        for _, head in heads:
            self.wanted[head["segment"], head["lines"]] = None
        names = os.listdir(self.log) if os.path.isdir(self.log) else []
        names = [name for name in names if os.path.isfile(os.path.join(self.log, name))]
        numbers = sorted(int(match.group(1)) for match in map(SEGMENT.match, names) if match)
        for number in numbers:
            self.segment(number, number == numbers[-1])
        self.check_begin()
        for name, head in heads:
            if not self.holds(head):
                self.fault(name, head["segment"], head["lines"])

    def holds(self, head):
        if head["segment"] == 0:
            return head["record"] == 0 and head["hash"] == self.genesis
        if head["segment"] in self.removed:
            return True
        return self.wanted[head["segment"], head["lines"]] == head["hash"]

    def check_begin(self):
        if self.begin is None:
            return
        number, prev = self.begin
        expected = self.genesis if number == 1 else self.removed.get(number - 1)
        if prev != expected:
            self.fault("begin", number, 1)

    def segment(self, number, last):
        if self.last_segment is not None and number != self.last_segment + 1:
            self.fault("gap", number)
        self.last_segment = number
        closed = False
        at = 0
        with open(os.path.join(self.log, f"{number:010}.ndjson"), "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    if last:
                        self.torn = len(line)
                    else:
                        self.fault("line", number, at + 1)
                    break
                at += 1
                closed = self.line(number, at, line[:-1], closed)
        if not closed and not last:
            self.fault("checkpoint", number, at)

    def line(self, number, at, line, closed):
        """Looks at one line; whether the segment is closed after it."""
        self.lines += 1
        this = sha256(line)
        if (number, at) in self.wanted:
            self.wanted[number, at] = this
        value = parse(line)
        record = value.get("record") if value else None
        sound = value and isinstance(value.get("kind"), str) and isinstance(value.get("prev"), str)
        if not sound or not isinstance(record, int) or isinstance(record, bool):
            self.fault("line", number, at)
            self.last_hash, self.last_record = this, self.last_record + 1
            return closed
        if self.last_hash is None:
            self.begin = (number, value["prev"])
        else:
            if value["prev"] != self.last_hash:
                self.fault("chain", number, at)
            if record != self.last_record + 1:
                self.fault("number", number, at)
        self.last_hash, self.last_record = this, record
        kind = value["kind"]
        if at == 1:
            if not (
                kind == "segment"
                and value.get("format") == 1
                and value.get("segment") == number
                and value.get("genesis") == self.genesis
                and value.get("key") == self.key.hex
                and self.key.signed(line)
            ):
                self.fault("header", number, at)
        elif kind == "segment":
            self.fault("header", number, at)
        if closed:
            self.fault("checkpoint", number, at)
        if kind == "trim" and record <= self.covered:
            for gone in value.get("removed", []):
                self.removed[gone["segment"]] = gone["hash"]
        if kind == "checkpoint":
            mine = value.get("segment") == number and value.get("lines") == at
            if not mine or not self.key.signed(line):
                self.fault("checkpoint", number, at)
            return True
        return closed


def main(arguments):
    witness = None
    if len(arguments) == 4 and arguments[2] == "--witness":
        witness = read(arguments[3]) or b""
    elif len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 3
    verifier = Verifier(arguments[0], arguments[1])
    try:
        verifier.run(witness)
    except OSError as error:
        print(f"verify.py: {error}", file=sys.stderr)
        return 3
    for name, segment, line in verifier.faults:
        print(name, segment, line)
    unsigned = max(0, verifier.last_record - getattr(verifier, "covered", 0))
    print(f"lines {verifier.lines} unsigned {unsigned} torn {verifier.torn}")
    return 1 if verifier.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

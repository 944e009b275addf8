"""Fetches a page as Python programs do, by the proxy of the environment if there is one. A refusal says how long it
took, in milliseconds."""

import sys
import time
import urllib.error
import urllib.request

begun = time.monotonic()
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode(), end="")
except urllib.error.URLError as error:
    print(f"{(time.monotonic() - begun) * 1000:.0f} {error.reason}")
    sys.exit(7)

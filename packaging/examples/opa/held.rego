# What to do with a held call. `input` is the call as `guard approvals show --json` shows it: facts of the kernel.
#
#     opa run --server --addr unix:///run/guard-opa/opa.sock held.rego
#
# `deny` wins over `approve`; what neither names is for people.
package guard

import rego.v1

default decision := {"answer": "pass"}

decision := {"answer": "deny", "note": concat("; ", sort(deny))} if count(deny) > 0

decision := {"answer": "approve", "note": concat("; ", sort(approve))} if {
	count(deny) == 0
	count(approve) > 0
}

deny contains "nobody rewrites history" if {
	is_push
	some word in input.argv
	startswith(word, "--force")
}

deny contains "nobody rewrites history" if {
	is_push
	"-f" in input.argv
}

deny contains "keys are nobody's to read" if {
	input.action == "read"
	endswith(input.object, ".key")
}

approve contains "a plain push to the gateway's remote" if {
	is_push
	input.argv == ["push", "origin"]
}

approve contains "the team's scratch space" if {
	input.action == "write"
	startswith(input.object, "/srv/scratch/")
}

is_push if {
	input.action == "exec"
	input.object == "/usr/bin/git"
	"push" in input.argv
}

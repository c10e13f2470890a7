#!/bin/sh
# Runs every fuzz target of the module, one after another, for SECONDS in all.
# A target that fails leaves its input in the package's testdata/fuzz.
set -eu

[ $# = 1 ] || { echo "usage: $0 SECONDS" >&2; exit 2; }
cd "$(dirname "$0")/../.."
targets=$(grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' . | sed 's|^\(.*\)/[^/]*:func |\1 |' | sort)
count=$(echo "$targets" | wc -l)
each=$(($1 / count))
[ $each -ge 1 ] || each=1
echo "fuzz: $count targets, $each s each"
echo "$targets" | while read -r dir name; do
	if ! out=$(go test -run '^$' -fuzz "^$name\$" -fuzztime "${each}s" -fuzzminimizetime 5s "$dir" 2>&1); then
		# Go says this, too, when the time ends while an input is at work.
		if ! echo "$out" | grep -q 'context deadline exceeded' || echo "$out" | grep -q 'Failing input'; then
			echo "$out"
			exit 1
		fi
	fi
	printf '%s %s: %s\n' "$dir" "$name" "$(echo "$out" | sed -n 's/^fuzz: elapsed: \(.*\)/\1/p' | tail -n 1)"
done

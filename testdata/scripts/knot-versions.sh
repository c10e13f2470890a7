#!/bin/sh
# Runs the tests that use a real knotd against the Knot DNS of other Debian
# suites. The packages and all their libraries are unpacked into a folder of
# their own; nothing is installed, and this machine's apt is only read.
set -eu

usage() {
	cat <<'END'
usage: knot-versions.sh [-d DIR] [-n] [SUITE...]

  SUITE   Debian suites to take knot from; default: trixie forky
  -d DIR  where packages go, kept for the next time; default: a new folder,
          removed at the end
  -n      fetch only, and print the path of each knotd

Packages come from where this machine's own come from. Exit status: 0 all tests
passed, 1 some failed, 2 usage, 3 packages cannot be had.
END
}

say() { echo "knot-versions: $*" >&2; }

lack() {
	say "$1: the packages cannot be had, so nothing was tested with them"
	shift
	for lines; do echo "$lines" | sed 's/^/  /' >&2; done
	exit 3
}

dir='' fetchonly=''
while getopts d:nh opt; do
	case $opt in
	d) dir=$OPTARG ;;
	n) fetchonly=yes ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- trixie forky
if [ -n "$fetchonly" ] && [ -z "$dir" ]; then
	say "-n needs -d: without it what was fetched is removed again"
	exit 2
fi

cd "$(dirname "$0")/../.."
if [ -z "$dir" ]; then
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
fi
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

for tool in apt-get apt-config dpkg; do
	command -v $tool >/dev/null || lack "this machine has no $tool" "it needs a Debian machine; or give any knotd yourself: KNOTD=/path/to/knotd go test ./knot/..."
done
own=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# The archive that this machine's own suite comes from has the others, too.
archive=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
	awk -v own="$own" 'own != "" && $1 == own && $2 == "main" { print $3; exit }')
[ -n "$archive" ] || lack "apt has no source of suite '$own', component main" "see /etc/apt/sources.list.d, and run apt-get update once"

# fetch SUITE: downloads knot and all that it needs, unpacks it, and writes
# $dir/SUITE/knotd, which runs it with its own libraries.
fetch() {
	here=$dir/$1
	mkdir -p "$here/etc" "$here/state/lists/partial" "$here/cache/archives/partial" "$here/none"
	: >"$here/status" # nothing is installed, so everything is fetched
	keys=''
	for k in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
		[ -e "$k" ] && keys="[signed-by=$k]" && break
	done
	echo "deb $keys $archive $1 main" >"$here/etc/sources.list"
	# The machine's ways to the archive (proxies and such), none of its hooks.
	apt-config dump | grep '^Acquire::' | grep -v '^Acquire::IndexTargets' >"$here/apt.conf" || :
	cat >>"$here/apt.conf" <<END
Dir::Etc::main "/dev/null";
Dir::Etc::parts "$here/none";
Dir::Etc::sourcelist "$here/etc/sources.list";
Dir::Etc::sourceparts "$here/none";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$here/none";
Dir::State "$here/state";
Dir::State::status "$here/status";
Dir::Cache "$here/cache";
Dir::Log "$here";
Acquire::Languages "none";
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
END
	export APT_CONFIG="$here/apt.conf"
	if ! apt-get -q update >"$here/log" 2>&1 || ! apt-get -q -y --download-only install knot >>"$here/log" 2>&1 </dev/null; then
		lack "suite $1" "$(grep -E '^(E|Err|W):' "$here/log" | tail -3)" "the archive is the one of this machine's own suite, $own; with -d, all that apt said is in $here/log"
	fi
	unset APT_CONFIG
	rm -rf "$here/root"
	mkdir "$here/root"
	for deb in "$here"/cache/archives/*.deb; do
		dpkg -x "$deb" "$here/root"
	done
	for ld in "$here"/root/usr/lib/*/ld-linux*.so.* "$here"/root/lib/*/ld-linux*.so.*; do
		[ -e "$ld" ] && break
	done
	[ -e "$ld" ] || lack "suite $1" "its packages hold no dynamic linker that this script knows"
	libs=$(dirname "$ld")
	cat >"$here/knotd" <<END
#!/bin/sh
exec "$ld" --library-path "$libs:$here/root/usr/lib/$(basename "$libs")" "$here/root/usr/sbin/knotd" "\$@"
END
	chmod +x "$here/knotd"
	"$here/knotd" -V >/dev/null 2>>"$here/log" || lack "suite $1" "its knotd does not run here: $(tail -1 "$here/log")"
}

failed=''
for suite; do
	case $suite in
	*[!a-z0-9-]* | '') say "'$suite' is no suite's name"; exit 2 ;;
	esac
	say "fetching knot of $suite"
	fetch "$suite"
	version=$("$dir/$suite/knotd" -V | awk '{ print $NF }')
	if [ -n "$fetchonly" ]; then
		echo "$version $dir/$suite/knotd"
		continue
	fi
	say "testing with knot $version of $suite"
	for what in './knot/...' '-run ^TestKnot ./zonesignerd/internal/node/'; do
		# shellcheck disable=SC2086 # what is words
		KNOTD=$dir/$suite/knotd go test -count=1 $what || failed="$failed $version"
	done
done
if [ -n "$failed" ]; then
	say "failed with:$failed"
	exit 1
fi

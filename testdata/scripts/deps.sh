#!/bin/sh
# Installs, on Debian, the programs that `make test` and `make demo` use and
# that are not there. It changes nothing where all are.
#   deps.sh demo   Knot and the tools to ask it with
#   deps.sh test   those, other people's signers and validators, man, a PKCS #11
#                  token in software, and the C compiler that PKCS #11 needs
#   deps.sh race   the same: Go's race detector needs the compiler, too
set -eu

# program:package of Debian
programs="knotd:knot knotc:knot kdig:knot-dnsutils knsupdate:knot-dnsutils kzonesign:knot-dnssecutils delv:bind9-dnsutils"
case ${1:-} in
demo) ;;
test | race) programs="$programs dnssec-signzone:bind9-utils dnssec-verify:bind9-utils ldns-signzone:ldnsutils ldns-verify-zone:ldnsutils unbound:unbound man:man-db softhsm2-util:softhsm2 gcc:gcc gcc:libc6-dev" ;;
*)
	echo "usage: $0 demo|test|race" >&2
	exit 2
	;;
esac

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
missing=
for p in $programs; do
	command -v "${p%%:*}" >/dev/null && continue
	case " $missing " in *" ${p#*:} "*) ;; *) missing="$missing ${p#*:}" ;; esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "deps.sh: missing:$missing (names of Debian packages); install them by hand, there is no apt-get here" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "deps.sh: missing:$missing" >&2
	echo "hint: sudo apt-get install --no-install-recommends$missing" >&2
	exit 1
fi

# Servers that a package would start are not wanted: tests start their own.
# A policy that is there already is somebody's, and stays.
if [ ! -e /usr/sbin/policy-rc.d ]; then
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086 # a list of words
apt-get install -q -y --no-install-recommends $missing

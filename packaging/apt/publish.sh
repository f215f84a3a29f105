#!/usr/bin/env bash
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: publish.sh --key KEY --url URL [OPTION...] FOLDER [DEB...]

Puts .deb files into a fleet's own signed apt repository, with reprepro. FOLDER is what a web server shows at URL, without
any program behind it. The same file again changes nothing; a newer version takes the place of the older one; another file
under the same version is refused. Without a DEB the repository is signed anew, for example with a new key.

  --key KEY        the GPG key that signs: a fingerprint of 40 hexadecimal digits, of a key in this user's key ring
  --url URL        where clients find FOLDER: https://…, http://… or file:///…
  --suite SUITE    the suite's name (default: stable)
  --state FOLDER   what reprepro remembers, to be kept and not shown (default: FOLDER.state)

Makes FOLDER/promptd-fleet.sources, which each client puts into /etc/apt/sources.list.d/ (README.md beside this script), with
the key in it.

A key for this alone, without a passphrase so that nobody has to be there; the folder ~/.gnupg is then what must be kept safe:
  gpg --batch --passphrase '' --quick-generate-key 'promptd fleet <fleet@example.org>' ed25519 sign 2y
TEXT
}
fail() { echo "publish: $*" >&2; exit 1; }

suite=stable
key='' url='' state=''
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit ;;
    --key | --url | --suite | --state) [ $# -ge 2 ] || fail "$1 needs a value"; declare "${1#--}=$2"; shift 2 ;;
    -*) usage >&2; fail "unknown option $1" ;;
    *) break ;;
  esac
done
[ $# -ge 1 ] || { usage >&2; fail "no folder was given"; }
folder=$1
shift
[[ $key =~ ^[0-9A-Fa-f]{40}$ ]] || fail "--key is \"$key\"; a fingerprint of 40 hexadecimal digits is needed (gpg --list-secret-keys)"
[[ $url =~ ^(https?://|file:///)[^[:space:]]+$ ]] || fail "--url is \"$url\"; it begins with https://, http:// or file:///"
[[ $suite =~ ^[a-z][a-z0-9-]{0,31}$ ]] || fail "--suite is \"$suite\"; allowed are up to 32 small letters, digits and '-'"
for tool in reprepro gpg dpkg-deb; do command -v "$tool" >/dev/null || fail "$tool is missing: apt install reprepro gpg dpkg"; done
gpg --batch --quiet --list-secret-keys "$key" >/dev/null 2>&1 || fail "the key $key is not in this user's key ring"
for deb; do dpkg-deb --field "$deb" Package >/dev/null 2>&1 || fail "$deb is no .deb file"; done

folder=$(realpath -m "$folder")
state=$(realpath -m "${state:-$folder.state}")
[[ $state/ != "$folder"/* ]] || fail "--state is inside of $folder, where everybody would see it"
mkdir -p "$folder" "$state/conf"
cat >"$state/conf/distributions" <<TEXT
Origin: promptd fleet
Label: promptd fleet
Suite: $suite
Codename: $suite
Architectures: amd64 arm64
Components: main
Description: promptd for this fleet
SignWith: $key
TEXT

repository() { reprepro --silent --basedir "$state" --outdir "$folder" "$@"; }
for deb; do repository includedeb "$suite" "$deb" || fail "$deb was not taken"; done
repository export "$suite" || fail "the repository was not signed"

# Within Signed-By, an empty line is a dot and each line is indented.
{
  echo "# For /etc/apt/sources.list.d/ of each machine of the fleet."
  echo "Types: deb"
  echo "URIs: $url"
  echo "Suites: $suite"
  echo "Components: main"
  echo "Signed-By:"
  gpg --batch --quiet --armor --export "$key" | sed -e 's/^$/./' -e 's/^/ /'
} >"$state/promptd-fleet.sources"
chmod 0644 "$state/promptd-fleet.sources"
mv "$state/promptd-fleet.sources" "$folder/promptd-fleet.sources"
repository list "$suite"

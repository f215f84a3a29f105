#!/usr/bin/env bash
# The fleet's apt repository for real: publish.sh signs with a throwaway key, and an apt of its own, rooted in a temporary
# folder, verifies, updates and downloads. Arguments: .deb files to publish (default: two small ones that are made here).
set -euo pipefail
debs=()
for deb; do debs+=("$(realpath "$deb")"); done
publish=$(realpath "$(dirname "$0")/../../packaging/apt/publish.sh")

work=$(mktemp -d)
export GNUPGHOME=$work/gnupg
cleanup() {
  # Ends the agent that gpg has started for this folder.
  gpgconf --kill all 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
fail() { echo "apt: $*" >&2; exit 1; }
# $1: what is expected to fail, then the command; its words are in $work/said.
refuses() {
  if "${@:2}" >"$work/said" 2>&1; then cat "$work/said" >&2; fail "$1 was not refused"; fi
}

mkdir -m 0700 "$GNUPGHOME"
# $1: a name. Prints the fingerprint of a new key.
make_key() {
  gpg --batch --quiet --passphrase '' --quick-generate-key "$1 <$1@example.org>" ed25519 sign 1d 2>/dev/null
  gpg --batch --quiet --with-colons --list-secret-keys "$1@example.org" | awk -F: '$1 == "fpr" { print $10; exit }'
}

# $1: architecture, $2: version, $3: folder. A package of the same name as the real one, with a file in it.
make_deb() {
  local root=$3/root-$1
  mkdir -p "$root/DEBIAN" "$root/usr/share/doc/promptd"
  echo "version $2" >"$root/usr/share/doc/promptd/test"
  printf '%s\n' "Package: promptd" "Version: $2" "Architecture: $1" "Section: net" "Priority: optional" \
    "Maintainer: Test <test@example.org>" "Description: stands for promptd in a test" >"$root/DEBIAN/control"
  dpkg-deb --root-owner-group --build "$root" "$3/promptd_$2_$1.deb" >/dev/null
}

key=$(make_key fleet)
folder=$work/repository
url=file://$folder
host=$(dpkg --print-architecture)
if [ "${#debs[@]}" -eq 0 ]; then
  mkdir "$work/debs"
  for architecture in amd64 arm64; do make_deb "$architecture" 0.0.1~test "$work/debs"; done
  debs=("$work"/debs/*.deb)
fi
publish() { "$publish" --key "$key" --url "$url" "$folder" "$@"; }

echo "apt: publishing ${debs[*]##*/}"
publish "${debs[@]}"
publish "${debs[@]}" >"$work/again"
[ -e "$folder/dists/stable/InRelease" ] || fail "there is no signed index"
[ -e "$folder/dists/stable/main/binary-arm64/Packages" ] || fail "there is no index for arm64"
[ -z "$(find "$folder" -name conf -o -name db)" ] || fail "reprepro's own files can be seen"

# An apt with nothing of this system's but what is installed.
root=$work/apt
mkdir -p "$root"/{etc/apt/sources.list.d,etc/apt/preferences.d,etc/apt/trusted.gpg.d,lists/partial,archives/partial}
cp "$folder/promptd-fleet.sources" "$root/etc/apt/sources.list.d/"
# Unlike the installed one, so that there is something to install.
awk 'BEGIN { RS = ""; ORS = "\n\n" } !/^Package: promptd\n/' /var/lib/dpkg/status >"$root/status"
private_apt() {
  LC_ALL=C apt-get -o Dir::Etc="$root/etc/apt" -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::trustedparts="$root/etc/apt/trusted.gpg.d" \
    -o Dir::State="$root" -o Dir::State::lists="$root/lists" -o Dir::State::status="$root/status" -o Dir::Cache="$root" \
    -o Dir::Cache::archives="$root/archives" -o APT::Sandbox::User= -o APT::Architectures="$host" \
    -o Acquire::Languages=none -o APT::Get::List-Cleanup=false -o Debug::NoLocking=true -o Acquire::Retries=0 "$@"
}
# apt-get update tells of a bad signature only in a warning.
update() { private_apt -o APT::Update::Error-Mode=any -qq update; }
install() { private_apt -qq -y --no-install-recommends --download-only install promptd; }
# From a file: URI nothing is copied to install it; this copies, and checks it, too.
download() { (cd "$root/archives" && private_apt -qq download promptd); }

update || fail "the signature was not accepted"
install || fail "promptd cannot be installed"
download || fail "promptd cannot be downloaded"
fetched=$(find "$root/archives" -name 'promptd_*.deb')
[ -n "$fetched" ] || fail "nothing was downloaded"
for deb in "${debs[@]}"; do
  if [ "$(dpkg-deb -f "$deb" Package)/$(dpkg-deb -f "$deb" Architecture)" = "promptd/$host" ]; then
    cmp "$deb" "$fetched" || fail "another file was downloaded than was published"
  fi
done
echo "apt: verified and downloaded $(basename "$fetched")"
rm -f "$root"/archives/*.deb

# What somebody changed on the way: a package, then the index.
stored=$(find "$folder/pool" -name "promptd_*_$host.deb")
cp "$stored" "$work/stored"
printf 'x' | dd of="$stored" bs=1 seek=100 conv=notrunc status=none
refuses "a changed package" install
refuses "a changed package" download
cp "$work/stored" "$stored"
packages=$folder/dists/stable/main/binary-$host/Packages
cp -a "$folder/dists" "$work/dists"
sed -i 's/^Description:.*/Description: changed/' "$packages"
rm -f "$packages.gz" "$root"/lists/*Packages* "$root"/lists/*InRelease
refuses "a changed index" update
rm -rf "$folder/dists"
cp -a "$work/dists" "$folder/dists"
sed -i 's/^Description: .*/Description: changed/' "$folder/dists/stable/InRelease"
rm -rf "$root"/lists/*Release*
refuses "a changed signed file" update
grep -q "BADSIG\|invalid" "$work/said" || { cat "$work/said" >&2; fail "it was refused for another reason"; }

# Signed by somebody else's key.
other=$(make_key other)
"$publish" --key "$other" --url "$url" "$folder" >/dev/null
rm -rf "$root"/lists/*Release*
refuses "another key's signature" update
grep -q "NO_PUBKEY" "$work/said" || { cat "$work/said" >&2; fail "it was refused for another reason"; }
publish >/dev/null
update || fail "it is not as before"

# A newer version replaces the older one, and another file of the same version is refused.
make_deb "$host" 99 "$work"
publish "$work/promptd_99_$host.deb" >"$work/list"
grep -q "promptd 99$" "$work/list" || { cat "$work/list" >&2; fail "the newer version is not there"; }
update
install
download
[ -n "$(find "$root/archives" -name 'promptd_99_*.deb')" ] || fail "the newer version is not what apt takes"
mkdir "$work/forged"
make_deb "$host" 99 "$work/forged"
echo more >>"$work/forged/root-$host/usr/share/doc/promptd/test"
dpkg-deb --root-owner-group --build "$work/forged/root-$host" "$work/forged/promptd_99_$host.deb" >/dev/null
refuses "another file of the same version" publish "$work/forged/promptd_99_$host.deb"

# What makes no sense.
refuses "a file that is no package" publish "$0"
grep -q "no .deb file" "$work/said" || fail "without a reason"
refuses "a short key" "$publish" --key 1234 --url "$url" "$folder"
refuses "an unknown key" "$publish" --key "$(printf '0%.0s' {1..40})" --url "$url" "$folder"
grep -q "not in this user's key ring" "$work/said" || fail "without a reason"
refuses "a state that can be seen" "$publish" --key "$key" --url "$url" --state "$folder/state" "$folder"
echo "apt: everything was as it should be"

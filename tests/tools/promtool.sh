#!/usr/bin/env bash
# Takes promtool, which checks metrics and rules, out of Debian's package of Prometheus: to install that would start a server.
# $1: where to put it.
set -euo pipefail
target=$1
[ -x "$target" ] && exit 0

folder=$(dirname "$target")
mkdir -p "$folder"
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "promtool: fetching Debian's package prometheus (19 MB)"
# A folder that the user _apt cannot enter is no reason for a warning.
(cd "$work" && apt-get download -qq -o APT::Sandbox::User="$(id -un)" prometheus)
dpkg-deb -x "$work"/prometheus_*.deb "$work/package"
mv "$work/package/usr/bin/promtool" "$target"
echo "promtool: $target"

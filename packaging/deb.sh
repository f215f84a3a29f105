#!/usr/bin/env bash
# Builds the Debian packages from this checkout into $1/deb and has lintian look at them. $1: cargo's target folder.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1/deb"
CARGO_TARGET_DIR=$(realpath "$1")
export CARGO_TARGET_DIR DEB_FOLDER=$CARGO_TARGET_DIR/deb
# `make test` has run the tests.
export DEB_BUILD_OPTIONS="nocheck ${DEB_BUILD_OPTIONS:-}"

source packaging/debian-packages.sh
install_missing deb debhelper chrpath lintian

rm -f "$DEB_FOLDER"/*
changes=$DEB_FOLDER/promptd.changes
log=$DEB_FOLDER/build.log
echo "deb: building; the log is $log"
dpkg-buildpackage --build=binary --no-sign --no-check-builddeps \
  --buildinfo-file="$DEB_FOLDER/promptd.buildinfo" --buildinfo-option=-u"$DEB_FOLDER" \
  --changes-file="$changes" --changes-option=-u"$DEB_FOLDER" >"$log" 2>&1 || { tail -n 40 "$log" >&2; exit 1; }
debian/rules clean >/dev/null
lintian --allow-root --fail-on error,warning "$changes"
ls -l "$DEB_FOLDER"/*.deb

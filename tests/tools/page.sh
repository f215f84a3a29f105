#!/usr/bin/env bash
# The status page in a browser: a node answers questions, and headless Chromium shows what the page makes of it.
# $1: promptd, $2: model, $3: where to put a screenshot.
set -euo pipefail
promptd=$1 model=$2 screenshot=$3
source "$(dirname "$0")/../../packaging/debian-packages.sh"
install_missing page chromium
source "$(dirname "$0")/node.sh"

http=$(free_port)
start_broker
start_node page <<CONF
sequences = 2
[telemetry]
http = "127.0.0.1:$http"
CONF

# A profile of its own; a container may lack what Chromium's sandbox needs, and the page is ours.
browser() {
  timeout 120 chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
    --user-data-dir="$work/profile" --window-size=1100,1300 --virtual-time-budget="$budget" \
    --enable-logging=stderr --log-level=0 "$@" 2>>"$work/browser.log"
}

fail() {
  echo "page: $1" >&2
  sed -n '1,200p' "$work/page.html" >&2
  grep -i 'CONSOLE' "$work/browser.log" >&2 || true
  exit 1
}

# Long enough for a few points of the charts.
budget=3000
for number in 1 2 3; do
  "$promptd" ask --config "$config" --max-tokens 60 "Tell me about number $number." >/dev/null
done
for _ in {1..60}; do
  browser --dump-dom "http://localhost:$http/" >"$work/page.html"
  # Two looks of the history make a line.
  [ "$(grep -o '<svg' "$work/page.html" | wc -l)" -ge 3 ] && grep -qE 'd="M[0-9. ]+L' "$work/page.html" && break
done

grep -q '<title>page: ready</title>' "$work/page.html" || fail "the title does not tell the state"
grep -qE 'id="state"[^>]*>ready<' "$work/page.html" || fail "the state is not shown"
grep -q 'broker connected' "$work/page.html" || fail "the connection is not shown"
grep -qE '<td>main</td><td class="good"[^>]*>ready</td><td>cpu:int4 \(Q4_1\)</td>' "$work/page.html" || fail "the model is not shown"
for chart in 'Tokens per second' 'Jobs' 'Memory left for new work'; do
  grep -q "<h2>$chart" "$work/page.html" || fail "the chart of $chart is missing"
done
grep -qE 'd="M[0-9. ]+L' "$work/page.html" || fail "the charts have no line"
grep -qiE 'Content Security Policy|Refused to|Uncaught' "$work/browser.log" && fail "the browser objects"

# For the eyes of people.
browser --screenshot="$screenshot" "http://localhost:$http/"
[ -s "$screenshot" ] || fail "there is no screenshot"
echo "page: shown as it should be; screenshot in $screenshot"

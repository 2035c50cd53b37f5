#!/bin/sh
# Makes docs/images/demo.png: the top of a real report, photographed by a headless Chromium.
#
#     .venv/bin/hansa demo --out hansa-runs/picture
#     sh docs/images/make.sh hansa-runs/picture/report.html
#
# Chromium and optipng are the distribution's (Debian: apt-get install chromium optipng). A second argument names
# another height in pixels, for a demo with more or fewer markets than three.
set -eu
report=$(realpath "$1")
height=${2:-1852}
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
  --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$profile" \
  --window-size="980,$height" --screenshot="$(dirname "$0")/demo.png" "file://$report"
optipng -quiet -o5 -strip all "$(dirname "$0")/demo.png"

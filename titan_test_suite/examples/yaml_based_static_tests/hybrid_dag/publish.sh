#!/bin/sh
# Show the most frequent words, and tidy up what the steps before left on the data bus.
set -eu
cd "$TITAN_SHARED_DIR/$TITAN_RUN_ID"
sort -k1,1nr -k2,2 "$1" | head -n 5
rm words.txt "$1"

#!/bin/sh
# One night from cron. Settings come from the environment: RECBATCH_HOME (checkout or folder with .venv), RECBATCH_LAKE,
# RECBATCH_CONFIG. Says nothing on success; on failure prints one line and exits with the night's exit code:
#   65 bad data, failed audit or gate   66 input missing   73/74/77 cannot create, I/O, permission   75 lock held   78 config
set -u
umask 027
export TZ=UTC LC_ALL=C.UTF-8
: "${RECBATCH_HOME:=$(cd "$(dirname "$0")/.." && pwd)}"
: "${RECBATCH_LAKE:=$RECBATCH_HOME/lake}"
: "${RECBATCH_LOG:=$RECBATCH_LAKE.log}"
export RECBATCH_LAKE
PATH=$RECBATCH_HOME/.venv/bin:/usr/local/bin:/usr/bin:/bin
export PATH
cd "$RECBATCH_HOME" || exit 66

# Rotate at 10 MB, keep one old file.
if [ -f "$RECBATCH_LOG" ] && [ "$(wc -c <"$RECBATCH_LOG")" -gt 10000000 ]; then
    mv -f "$RECBATCH_LOG" "$RECBATCH_LOG.1"
fi

recbatch nightly "$@" >>"$RECBATCH_LOG" 2>&1
code=$?
if [ "$code" -ne 0 ]; then
    printf 'recbatch nightly: exit %s: %s\n' "$code" "$(tail -n 1 "$RECBATCH_LOG")" >&2
fi
exit "$code"

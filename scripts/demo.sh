#!/usr/bin/env bash
# A walk through a 4-broker instance with real programs: prints each command, then what it answers.
#   npm run demo
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PATH="$root/dist:$PATH"

if [ -z "${FLUX_DEMO_INSIDE:-}" ]; then
  printf '\n$ flux start --test-size=4   # four brokers on this machine; the rest runs inside\n'
  export FLUX_DEMO_INSIDE=1
  exec flux start --test-size=4 "$0"
fi

# Where the output stops making sense without the words above it, say them.
say() { printf '\n# %s\n' "$*"; }
show() {
  printf '\n$ %s\n' "$*"
  bash -c "$*" || printf '(exit code %s)\n' "$?"
}

say "An instance is a few brokers with resources of their own."
show "flux uptime"
show "flux resource info"
show "flux resource list"

say "Run a program in parallel: one task on each of the four nodes."
show "flux run --label-io -N4 hostname"
show "flux run -n8 --label-io sh -c 'echo task \$FLUX_TASK_RANK of \$FLUX_JOB_SIZE'"

say "A task's exit code is the command's."
show "flux run sh -c 'exit 3'"

say "Standard input goes to the job, too."
show "seq 1000 | flux run awk '{ sum += \$1 } END { print sum }'"

say "Queue many programs at once, and watch their output."
show "flux submit --cc=1-6 --watch sh -c 'echo {cc} squared is \$(({cc} * {cc}))'"
show "flux jobs -a"

say "Look at one job's life, from its submission to its end."
show "flux job eventlog -H \$(flux job last)"

say "A job that would never end: cancel it."
show 'id=$(flux submit sleep 600); flux job wait-event -q "$id" start; flux cancel "$id"; flux job attach "$id"'

say "Every broker shares a key-value store, and answers to ping."
show "flux kvs put demo.answer=42"
show "flux exec --rank=3 flux kvs get demo.answer"
show "flux ping --count=2 3"

say "That was it: the instance ends with its initial program. Try it yourself: dist/flux start --test-size=4"

#!/bin/sh
# The worker's side of `server.worker-listen`: while its worker is idle, this machine asks provisionerd
# whether to stop, and ends when it is told to. For user data, with your worker started before it:
#
#   user-data-file = "should-stop.sh"
#   user-data-template = true
#
# It needs curl. CHANGE the three functions to what your worker knows.
set -u

STOP_URL='${{ stop_url }}'
STOP_TOKEN='${{ stop_token }}'
IDLE_TIMEOUT='${{ idle_timeout }}'
EVERY=${EVERY:-30} # seconds between two questions; an idle worker that is silent for 90 counts as busy

# CHANGE: whether the worker runs no task.
is_idle() { ! pgrep -f /opt/worker/run-task >/dev/null; }

# CHANGE: has the worker take no more tasks. Fails if it took one in the meantime: that one comes first.
drain() { touch /run/worker/drain && sleep 2 && is_idle; }

# CHANGE: has it take tasks again.
resume() { rm -f /run/worker/drain; }

# One-time spot instances cannot be stopped: EC2 terminates what shuts down.
shut_down() { shutdown -h now; exit 0; }

metadata() {
    session=$(curl -sS -f -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' \
        http://169.254.169.254/latest/api/token) &&
        curl -sS -f -m 5 -H "X-aws-ec2-metadata-token: $session" \
            "http://169.254.169.254/latest/meta-data/$1"
}

# Says something. 0: stop; 1: stay; 2: nobody answered. The token is not in the arguments, which others
# on this machine can read.
say() {
    answer=$(printf 'header = "Authorization: Bearer %s"\n' "$STOP_TOKEN" |
        curl -sS -f -m 10 --config - -d "$1" "$STOP_URL/$INSTANCE_ID/should-stop") || return 2
    case $answer in *'"stop":true'*) return 0 ;; *) return 1 ;; esac
}

# Says that it is stopping until somebody answers, within the lease of a minute.
say_stopping() {
    for _ in 1 2 3 4; do
        say '{"stopping":true}'
        told=$?
        [ $told != 2 ] && return $told
        sleep 3
    done
    return 2
}

INSTANCE_ID=${INSTANCE_ID:-$(metadata instance-id)} || exit 1
silent=0 # seconds for which it has been idle and nobody answered
while sleep "$EVERY"; do
    if ! is_idle; then
        silent=0
        continue
    fi
    say '{"idle":true}'
    case $? in
    0)
        silent=0
        if ! drain; then
            resume
            say '{"idle":false}'
            continue
        fi
        say_stopping && shut_down
        # It is needed again, or nobody answered: it goes on.
        resume
        ;;
    1) silent=0 ;;
    *)
        # Without a provisioner to ask, it ends as workers do by themselves.
        silent=$((silent + EVERY))
        if [ $silent -ge "${IDLE_TIMEOUT%s}" ]; then
            drain && shut_down
            resume
        fi
        ;;
    esac
done

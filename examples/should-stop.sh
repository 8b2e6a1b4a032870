#!/bin/sh
# The worker's side of `server.worker-listen`: while its worker is idle, this machine asks provisionerd
# whether to stop, and shuts down if the answer is yes. Use it as user data, after starting your worker:
#
#   user-data-file = "should-stop.sh"
#   user-data-template = true
#
# It needs curl. CHANGE the three functions to suit your worker.
set -u

STOP_URL='${{ stop_url }}'
STOP_TOKEN='${{ stop_token }}'
IDLE_TIMEOUT='${{ idle_timeout }}'
EVERY=${EVERY:-30} # seconds between two questions; an idle worker that is silent for 90 s counts as busy

# CHANGE: succeeds if the worker runs no task.
is_idle() { ! pgrep -f /opt/worker/run-task >/dev/null; }

# CHANGE: stops the worker from taking tasks. Fails if it has taken one in the meantime, which comes first.
drain() { touch /run/worker/drain && sleep 2 && is_idle; }

# CHANGE: lets the worker take tasks again.
resume() { rm -f /run/worker/drain; }

# EC2 terminates one-time spot instances that shut down, because they cannot be stopped.
shut_down() { shutdown -h now; exit 0; }

metadata() {
    session=$(curl -sS -f -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' \
        http://169.254.169.254/latest/api/token) &&
        curl -sS -f -m 5 -H "X-aws-ec2-metadata-token: $session" \
            "http://169.254.169.254/latest/meta-data/$1"
}

# Sends a message. Returns 0 for stop, 1 for stay, and 2 without an answer. The token is not in the
# arguments, which other users of this machine can read.
say() {
    answer=$(printf 'header = "Authorization: Bearer %s"\n' "$STOP_TOKEN" |
        curl -sS -f -m 10 --config - -d "$1" "$STOP_URL/$INSTANCE_ID/should-stop") || return 2
    case $answer in *'"stop":true'*) return 0 ;; *) return 1 ;; esac
}

# Confirms that it is stopping until there is an answer, within the lease of a minute.
say_stopping() {
    for _ in 1 2 3 4; do
        say '{"stopping":true}'
        answered=$?
        [ $answered != 2 ] && return $answered
        sleep 3
    done
    return 2
}

INSTANCE_ID=${INSTANCE_ID:-$(metadata instance-id)} || exit 1
silent=0 # seconds for which it has been idle without an answer
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
        # It is needed again, or there was no answer, so it continues.
        resume
        ;;
    1) silent=0 ;;
    *)
        # Without an answer it stops after its idle timeout, as other workers do.
        silent=$((silent + EVERY))
        if [ $silent -ge "${IDLE_TIMEOUT%s}" ]; then
            drain && shut_down
            resume
        fi
        ;;
    esac
done

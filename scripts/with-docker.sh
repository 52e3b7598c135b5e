#!/usr/bin/env bash
# Runs a command in a network namespace of its own with a dockerd of its own, and leaves nothing behind (needs root).
# The command finds: DOCKER_HOST, FLOTILLA_TEST_GPU_LOG (written by the GPU stub), images test/busybox:1 and busybox:latest.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ -z "${FLOTILLA_TEST_IN_NAMESPACE:-}" ]; then
  # Not "ip netns exec": it mounts /sys anew and so hides the cgroups.
  exec env FLOTILLA_TEST_IN_NAMESPACE=1 unshare --net -- "${BASH_SOURCE[0]}" "$@"
fi

ip link set lo up
place=$(mktemp -d /tmp/flotilla-docker.XXXXXX)
export DOCKER_HOST="unix://$place/sock"
export FLOTILLA_TEST_GPU_LOG="$place/gpu.log"

PATH="$here/../test/support/stubs:$PATH:/usr/sbin:/sbin" dockerd --data-root "$place/data" --exec-root "$place/exec" \
  --pidfile "$place/pid" -H "$DOCKER_HOST" >"$place/log" 2>&1 </dev/null &
dockerd=$!
command_pid=

# Whatever the tests left in this namespace, except this script and dockerd.
leftovers() {
  local mine link pid
  mine=$(readlink /proc/self/ns/net)
  for link in /proc/[0-9]*/ns/net; do
    pid=${link#/proc/}
    pid=${pid%%/*}
    if [ "$pid" != "$$" ] && [ "$pid" != "$BASHPID" ] && [ "$pid" != "$PPID" ] && [ "$(readlink "$link" 2>/dev/null)" = "$mine" ]; then
      echo "$pid"
    fi
  done
}

cleanup() {
  local code=$? pid containers mount line
  trap - EXIT INT TERM
  [ -z "$command_pid" ] || kill "$command_pid" 2>/dev/null || :
  containers=$(timeout 20 docker ps -aq 2>/dev/null || :)
  [ -z "$containers" ] || timeout 60 docker rm -f $containers >/dev/null 2>&1 || :
  kill "$dockerd" 2>/dev/null || :
  wait "$dockerd" 2>/dev/null || :
  for pid in $(leftovers); do
    line=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | cut -c1-150 || :)
    [ -n "$line" ] || continue
    echo "ending what the tests left behind: $pid $line" >&2
    kill -9 "$pid" 2>/dev/null || :
  done
  for mount in $(awk -v place="$place" 'index($2, place) == 1 { print $2 }' /proc/mounts | sort -r); do umount -l "$mount" || :; done
  rm -rf "$place" || :
  exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for attempt in $(seq 300); do
  timeout 5 docker version >/dev/null 2>&1 && break
  if [ "$attempt" = 300 ] || ! kill -0 "$dockerd" 2>/dev/null; then
    echo "dockerd does not answer; the end of its log:" >&2
    tail -20 "$place/log" >&2
    exit 1
  fi
  sleep 0.1
done

image=$(mktemp -d "$place/image.XXXXXX")
mkdir -p "$image/bin" "$image/tmp" "$image/etc"
chmod 1777 "$image/tmp"
echo 'root:x:0:0:root:/:/bin/sh' >"$image/etc/passwd"
cp "$(command -v busybox)" "$image/bin/busybox"
for applet in $(busybox --list); do
  [ "$applet" = busybox ] || ln -s busybox "$image/bin/$applet"
done
tar -C "$image" -c . | docker import -c 'CMD ["/bin/sh"]' -c 'ENV PATH=/bin' - test/busybox:1 >/dev/null
docker tag test/busybox:1 busybox:latest

"$@" &
command_pid=$!
# "wait" ends early when a signal arrives; the trap then runs.
code=0
wait "$command_pid" || code=$?
command_pid=
exit "$code"

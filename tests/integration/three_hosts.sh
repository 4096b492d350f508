#!/usr/bin/env bash
# Three hosts on one machine: a network namespace, a hostname, a /tmp/ray and a /dev/shm of its own for each, joined by a
# bridge that everything between them crosses. Runs `ray-eval WORDS` on the first and keeps what crossed in $1/crossed.pcap.
#   unshare --net --mount --pid --fork --mount-proc --kill-child three_hosts.sh FOLDER PYTHON PORT WORDS...
# The policy listens at PORT of the first host, the only one that is no spot host; the others have a core for a worker each.
# With WIRE set, nothing is kept, and the cables of the others are what wire.py makes of FOLDER/wire.json.
set -euo pipefail
folder=$1 python=$2 port=$3
shift 3
mkdir -p /run/netns /tmp/ray
mount -t tmpfs tmpfs /run/netns
ip link add bridge type bridge
ip link set bridge up
ip link set lo up
for host in 1 2 3; do
    ip netns add "host$host"
    if [ -n "${WIRE:-}" ] && [ "$host" != 1 ]; then
        "$python" "$(dirname "$0")/wire.py" "cable$host" "far$host" "$folder" &
        wire=$!
        until ip link show "far$host" >/dev/null 2>&1; do
            kill -0 "$wire"
            sleep 0.1
        done
        ip link set "far$host" netns "host$host" name eth0
    else
        ip link add "cable$host" type veth peer name eth0 netns "host$host"
    fi
    ip link set "cable$host" master bridge up
    ip -n "host$host" addr add "10.77.0.$host/24" dev eth0
    ip -n "host$host" link set eth0 up
    ip -n "host$host" link set lo up
    # Ray finds its own address by the route to the world, which nothing answers on.
    ip -n "host$host" route add default via 10.77.0.254 dev eth0
done

# on HOST COMMAND...: as if on that host
on() {
    local host=$1
    shift
    ip netns exec "host$host" unshare --uts --mount sh -c \
        'hostname "$0"; mount -t tmpfs tmpfs /tmp/ray; mount -t tmpfs tmpfs /dev/shm; exec "$@"' "host$host" "$@"
}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token RAY_USAGE_STATS_ENABLED=0
head -c 32 /dev/urandom | sha256sum | cut -d' ' -f1 >"$folder/token"
ray=$(dirname "$python")/ray

[ -n "${WIRE:-}" ] || tcpdump -i bridge -w "$folder/crossed.pcap" --immediate-mode -U "tcp" 2>"$folder/tcpdump.log" &
# The first host's driver must see its Ray: both are in one set of mounts.
on 1 sh -c '
    folder=$1 ray=$2; shift 2
    "$ray" start --head --node-ip-address=10.77.0.1 --port=6379 --num-cpus=1 --include-dashboard=false --disable-usage-stats
    touch "$folder/head-is-up"
    "$0" -c "
import ray, time
ray.init(\"10.77.0.1:6379\", logging_level=40)
while sum(node[\"Alive\"] for node in ray.nodes()) < 3:
    time.sleep(0.5)"
    exec "$0" -m ray_eval "$@" ray.address=10.77.0.1:6379' "$python" "$folder" "$ray" "$@" \
    "serving.address=0.0.0.0:$port" >"$folder/driver.log" 2>&1 &
driver=$!
until [ -e "$folder/head-is-up" ]; do
    kill -0 "$driver"
    sleep 0.2
done
for host in 2 3; do
    on "$host" "$ray" start "--address=10.77.0.1:6379" "--node-ip-address=10.77.0.$host" --num-cpus=1 \
        --labels=ray.io/market-type=spot --disable-usage-stats --block >"$folder/host$host.log" 2>&1 &
done
status=0
wait "$driver" || status=$?
sleep 1 # tcpdump writes what it has
exit "$status"

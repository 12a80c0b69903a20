# $1: a container's id. Leaves its cgroup 16 MiB more than it uses now and allocates them there, until the kernel ends a process for it. The
# database process is made the first choice and ours the last, so that it is not ours that is ended: in a pod it would begin with the score of the
# first choice. The limit goes with the container's cgroup; where the container lives on, it is put back, also when this script is ended.
group=$(awk -F: '$1 == 0 { print $3 }' "/proc/$first/cgroup")
dir=/sys/fs/cgroup$group limit=memory.max usage=memory.current
if [ ! -f "$dir/$limit" ]; then
  group=$(awk -F: '$2 == "memory" { print $3 }' "/proc/$first/cgroup")
  dir=/sys/fs/cgroup/memory$group limit=memory.limit_in_bytes usage=memory.usage_in_bytes
fi
[ -f "$dir/$limit" ] || { echo "the container's memory cgroup was not found at $dir" >&2; exit 1; }
if [ "$(cat /proc/self/oom_score_adj)" -gt 0 ]; then
  echo 0 > "/proc/$$/oom_score_adj" || { echo "the kernel would end this script before the database, and does not let that be changed" >&2; exit 1; }
fi
before=$(cat "$dir/$limit") allocating=
restore() {
  [ -z "$allocating" ] || kill "$allocating" 2>/dev/null || true
  [ ! -d "$dir" ] || [ ! -d "/proc/$first" ] || echo "$before" > "$dir/$limit" 2>/dev/null || true
}
trap restore EXIT
trap 'exit 1' TERM INT
for status in $(grep -l -E "^(PPid|Pid):[[:space:]]+$first\$" /proc/[0-9]*/status 2>/dev/null); do
  echo 1000 > "${status%/status}/oom_score_adj" 2>/dev/null || true
done
now=$(cat "$dir/$usage")
echo $((now + 16777216)) > "$dir/$limit"
# `tail` keeps a line in memory until it ends, and this one never does.
timeout 30 sh -c 'echo $$ > "$1/cgroup.procs" && exec tail /dev/zero' allocate "$dir" > /dev/null 2>&1 &
allocating=$!
wait "$allocating" 2>/dev/null || true
echo "the container's memory, $((now / 1048576)) MiB in use, was limited to 16 MiB more and used up"

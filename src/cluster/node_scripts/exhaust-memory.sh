# $1: a container's id. Leaves its cgroup 16 MiB more than it uses now and allocates them there, until the kernel ends a process for it. The
# database process is made the first choice, so that it is not ours that is ended. The limit goes with the container's cgroup; where the
# container lives on, it is put back.
group=$(awk -F: '$1 == 0 { print $3 }' "/proc/$first/cgroup")
dir=/sys/fs/cgroup$group limit=memory.max usage=memory.current
if [ ! -f "$dir/$limit" ]; then
  group=$(awk -F: '$2 == "memory" { print $3 }' "/proc/$first/cgroup")
  dir=/sys/fs/cgroup/memory$group limit=memory.limit_in_bytes usage=memory.usage_in_bytes
fi
[ -f "$dir/$limit" ] || { echo "the container's memory cgroup was not found at $dir" >&2; exit 1; }
before=$(cat "$dir/$limit")
for status in $(grep -l -E "^(PPid|Pid):[[:space:]]+$first\$" /proc/[0-9]*/status 2>/dev/null); do
  echo 1000 > "${status%/status}/oom_score_adj" 2>/dev/null || true
done
now=$(cat "$dir/$usage")
echo $((now + 16777216)) > "$dir/$limit"
# `tail` keeps a line in memory until it ends, and this one never does.
timeout 30 sh -c 'echo $$ > "$1/cgroup.procs" && exec tail /dev/zero' allocate "$dir" > /dev/null 2>&1 || true
if [ -d "$dir" ] && [ -d "/proc/$first" ]; then
  echo "$before" > "$dir/$limit" 2>/dev/null || true
fi
echo "the container's memory, $((now / 1048576)) MiB in use, was limited to 16 MiB more and used up"

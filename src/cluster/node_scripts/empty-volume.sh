# $1: a mount in a container, $2: our mark. Removes our file wherever a process of this node has that mount.
removed=0
for root in /proc/[0-9]*/root; do
  if [ -f "$root$1/.$2" ]; then
    rm -f "$root$1/.$2"
    removed=$((removed + 1))
  fi
done
echo "$removed files were removed"

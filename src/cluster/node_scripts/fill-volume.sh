# $1: a container's id, $2: a mount in it, $3: the claim's capacity in bytes, $4: our mark. Fills the volume to its last byte.
path=/proc/$first/root$2
block=$(stat -f -c %S "$path")
blocks=$(stat -f -c %b "$path")
size=$((blocks * block))
# A filesystem may be a little larger than what was asked for. One that is much larger is shared with others, who must not suffer.
if [ "$size" -gt $(($3 * 2)) ]; then
  echo "the volume is on a filesystem of $size bytes and the claim has $3: it is not the claim's own, and filling it would harm others" >&2
  exit 1
fi
available=$(stat -f -c %a "$path")
free=$((available * block))
[ "$free" -eq 0 ] || fallocate -l "$free" "$path/.$4" 2>/dev/null || true
# What is left may be less than a block, or reserved for the superuser.
dd if=/dev/zero of="$path/.$4" bs=4k oflag=append conv=notrunc 2>/dev/null || true
available=$(stat -f -c %a "$path")
left=$((available * block))
if [ "$left" -ne 0 ]; then
  echo "$left bytes of the volume are still free" >&2
  exit 1
fi
echo "$free bytes were free on the volume of $size bytes; none are left"

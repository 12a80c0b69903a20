# $1: a container's id, $2: a mount in it, $3: the claim's capacity in bytes, $4: our mark. Fills the volume to its last byte.
path=/proc/$first/root$2
size=$(df -B1 --output=size "$path" | tail -n 1 | tr -d ' ')
# A filesystem may be a little larger than what was asked for. One that is much larger is shared with others, who must not suffer.
if [ "$size" -gt $(($3 * 2)) ]; then
  echo "the volume is on a filesystem of $size bytes and the claim has $3: it is not the claim's own, and filling it would harm others" >&2
  exit 1
fi
free=$(df -B1 --output=avail "$path" | tail -n 1 | tr -d ' ')
[ "$free" -eq 0 ] || fallocate -l "$free" "$path/.$4" 2>/dev/null || true
# What is left may be less than a block, or reserved for the superuser.
dd if=/dev/zero of="$path/.$4" bs=4k oflag=append conv=notrunc 2>/dev/null || true
echo "$free bytes were free on the volume of $size bytes; $(df -B1 --output=avail "$path" | tail -n 1 | tr -d ' ') are left"

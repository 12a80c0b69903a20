# $1: our mark. Removes the rules that carry it, and no other.
removed=0
for tool in iptables ip6tables; do
  command -v $tool > /dev/null || continue
  while rule=$($tool -w 5 -L FORWARD --line-numbers -n 2>/dev/null | awk -v mark="/* $1 */" 'index($0, mark) { print $1; exit }'); [ -n "$rule" ]; do
    $tool -w 5 -D FORWARD "$rule"
    removed=$((removed + 1))
  done
done
echo "$removed rules were removed"

"""The same sum without native code: slower, and it comes to its end."""

values = [number / 8 for number in range(4096)]
print(f"safe mode: the sum of {len(values)} values is {sum(values)}")
